rule metrics:
    input:
        [files.rows(cell) for cell in CELLS],
        [path for name in MADE for path in plan.shown(name) + plan.described(name)],


rule measure:
    input:
        reconstructions=ancient(lambda w: plan.reconstructions(w.cell)),
        truths=ancient(lambda w: plan.truths(w.cell)),
        records=lambda w: records(plan.reconstructions(w.cell) + plan.truths(w.cell)),
    output:
        rows=files.rows("{cell}"),
        record=record(files.rows("{cell}")),
    log:
        files.log(files.rows("{cell}")),
    conda:
        "../../envs/environment.yaml"
    params:
        code=fingerprint(step_code("measure")),
        seeds=lambda w: options("seed", (shard.seed for shard in plan.shards(w.cell))),
        reconstructions=lambda w, input: options("reconstruction", input.reconstructions),
        truths=lambda w, input: options("truth", input.truths),
    shell:
        "exec python -m invgrad --log {log} measure --cell {wildcards.cell} {params.seeds} {params.reconstructions} {params.truths}"
        " --out {output.rows}"


rule activations:
    input:
        victims=ancient(lambda w: plan.victim_files([w.cell])),
        reconstructions=ancient(lambda w: plan.reconstructions(w.cell)),
        truths=ancient(lambda w: plan.truths(w.cell)),
        records=lambda w: records(plan.victim_files([w.cell]) + plan.reconstructions(w.cell) + plan.truths(w.cell)),
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
        code=fingerprint(step_code("activations")),
        shards=lambda w: plan.activation_options(w.cell),
    shell:
        "exec python -m invgrad --log {log} activations --cell {wildcards.cell} {params.shards}"
        " --out {output.rows} --device {resources.device} --threads {threads}"


rule describe:
    input:
        experiments=experiment_files(plan.project.config.experiments),
        scale=plan.project.config.scales / f"{plan.project.config.scale}.yaml",
    output:
        description=files.description(),
        settings=directory(files.settings()),
    log:
        files.log(files.description()),
    conda:
        "../../envs/environment.yaml"
    params:
        code=fingerprint(step_code("describe")),
        config=json.dumps(WHAT_IS_RUN),
        # What the paths and the data at hand make of the configuration.
        sources=json.dumps(dict(plan.project.sources)),
    shell:
        "exec python -m invgrad --log {log} describe --config {params.config:q} --settings {output.settings}"
        " --out {output.description}"


rule verdict:
    input:
        tables=ancient([files.rows(cell) for cell in CELLS]),
        records=records([files.rows(cell) for cell in CELLS]),
        description=files.description(),
        paper=plan.project.config.paper_values,
    output:
        rows=FIGURES / "rows.csv",
        rows_record=FIGURES / "rows.json",
        metrics=FIGURES / "metrics.json",
        verdicts=FIGURES / "verdicts.csv",
        verdicts_record=FIGURES / "verdicts.json",
    log:
        files.root / "logs/verdict.log",
    conda:
        "../../envs/environment.yaml"
    params:
        code=fingerprint(step_code("verdict")),
        tables=lambda w, input: options("table", input.tables),
    shell:
        "exec python -m invgrad --log {log} verdict {params.tables} --paper-values {input.paper} --description {input.description}"
        " --rows {output.rows} --metrics {output.metrics} --out {output.verdicts}"
