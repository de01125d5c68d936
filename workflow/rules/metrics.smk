rule measure:
    input:
        code=step_code("measure"),
        reconstructions=lambda w: plan.shard_files(w.cell, RECONSTRUCTIONS),
        truths=lambda w: plan.shard_files(w.cell, TRUTHS),
    output:
        rows=RESULTS / "metrics/{cell}.csv",
        record=RESULTS / "metrics/{cell}.json",
    log:
        RESULTS / "logs/measure/{cell}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        seeds=lambda w: [f"--seed {shard.seed}" for shard in plan.shards(w.cell)],
        reconstructions=lambda w, input: [f"--reconstruction {path}" for path in input.reconstructions],
        truths=lambda w, input: [f"--truth {path}" for path in input.truths],
    shell:
        "python -m invgrad measure --cell {wildcards.cell} {params.seeds} {params.reconstructions} {params.truths}"
        " --out {output.rows} 2>&1 | tee {log}"


rule verdict:
    input:
        code=step_code("verdict"),
        tables=[RESULTS / f"metrics/{cell}.csv" for cell in plan.cells],
        paper=plan.project.config.paper_values,
    output:
        rows=RESULTS / "rows.csv",
        rows_record=RESULTS / "rows.json",
        verdicts=FIGURES / "verdicts.csv",
        verdicts_record=FIGURES / "verdicts.json",
    log:
        RESULTS / "logs/verdict.log",
    conda:
        "../../envs/environment.yaml"
    params:
        tables=lambda w, input: [f"--table {path}" for path in input.tables],
        obstacles=plan.obstacles(),
    shell:
        "python -m invgrad verdict {params.tables} --paper-values {input.paper} --obstacles {params.obstacles:q}"
        " --rows {output.rows} --out {output.verdicts} 2>&1 | tee {log}"
