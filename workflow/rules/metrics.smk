rule metrics:
    input:
        [plan.rows(cell) for cell in CELLS],
        [path for name in MADE for path in plan.shown(name) + plan.described(name)],


rule measure:
    input:
        reconstructions=ancient(lambda w: plan.reconstructions(w.cell, int(w.seed))),
        truths=ancient(lambda w: plan.truths(w.cell, int(w.seed))),
        others=ancient(lambda w: plan.others(w.cell)),
        anew=anew(files.rows("{cell}", "{seed}")),
    output:
        rows=files.rows("{cell}", "{seed}"),
        record=record(files.rows("{cell}", "{seed}")),
    log:
        files.log(files.rows("{cell}", "{seed}")),
    conda:
        "../../envs/environment.yaml"
    params:
        reconstructions=lambda w, input: options("reconstruction", input.reconstructions),
        truths=lambda w, input: options("truth", input.truths),
        judging=lambda w, input: [
            *options("others", input.others),
            *options("judged-among", plan.judging(w.cell).values()),
        ],
    shell:
        "exec python -m invgrad --log {log} measure --cell {wildcards.cell} --seed {wildcards.seed} {params.reconstructions} {params.truths}"
        " {params.judging} --out {output.rows}"


rule activations:
    input:
        victims=ancient(lambda w: plan.victim_files([w.cell])),
        reconstructions=ancient(lambda w: plan.reconstructions(w.cell)),
        truths=ancient(lambda w: plan.truths(w.cell)),
        anew=anew(files.activations("{cell}")),
    output:
        rows=files.activations("{cell}"),
        record=record(files.activations("{cell}")),
    log:
        files.log(files.activations("{cell}")),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        device=DEVICE,
    params:
        shards=lambda w: plan.activation_options(w.cell),
    shell:
        "exec python -m invgrad --log {log} activations --cell {wildcards.cell} {params.shards}"
        " --out {output.rows} --device {resources.device} --threads {threads}"


rule describe:
    input:
        ancient(list(files_of_description(plan).values())),
        anew=anew(files.description()),
    output:
        description=files.description(),
        record=record(files.description()),
        settings=directory(files.settings()),
    log:
        files.log(files.description()),
    conda:
        "../../envs/environment.yaml"
    params:
        # A function, since Snakemake takes braces in a text for wildcards.
        config=lambda w: plan.describe_json(),
    shell:
        "exec python -m invgrad --log {log} describe --config {params.config:q} --settings {output.settings}"
        " --out {output.description}"


rule verdict:
    input:
        tables=ancient([path for cell in CELLS for path in plan.rows(cell)]),
        description=ancient(files.description()),
        paper=ancient(plan.project.config.paper_values),
        anew=anew(FIGURES / "rows.csv", FIGURES / "verdicts.csv"),
    output:
        rows=update(FIGURES / "rows.csv"),
        rows_record=update(FIGURES / "rows.json"),
        metrics=update(FIGURES / "metrics.json"),
        verdicts=update(FIGURES / "verdicts.csv"),
        verdicts_record=update(FIGURES / "verdicts.json"),
    log:
        files.root / "logs/verdict.log",
    conda:
        "../../envs/environment.yaml"
    params:
        tables=lambda w, input: options("table", input.tables),
    shell:
        "exec python -m invgrad --log {log} verdict {params.tables} --paper-values {input.paper} --description {input.description}"
        " --rows {output.rows} --metrics {output.metrics} --out {output.verdicts}"
