rule figures:
    input:
        rules.verdict.output,
        [FIGURES / f"{name}.{kind}" for name, artefact in ARTEFACTS.items() for kind in artefact.writes],


# One rule an artefact, because each writes other kinds of files.
for name, artefact in ARTEFACTS.items():

    rule:
        name:
            name
        input:
            code=sorted({*step_code("notebook"), *imported_code(plan.notebook(name))}),
            notebook=plan.notebook(name),
            rows=rules.verdict.output.rows,
            verdicts=rules.verdict.output.verdicts,
            images=[
                path
                for cell in artefact.cells
                for pattern in (RECONSTRUCTIONS, TRUTHS)
                for path in plan.shard_files(cell, pattern)
            ],
        output:
            [FIGURES / f"{name}.{kind}" for kind in artefact.writes],
            executed=RESULTS / f"notebooks/{name}.ipynb",
            record=RESULTS / f"notebooks/{name}.json",
        log:
            notebook=RESULTS / f"logs/notebooks/{name}.ipynb",
            messages=RESULTS / f"logs/notebooks/{name}.log",
        conda:
            "../../envs/environment.yaml"
        params:
            parameters=plan.notebook_parameters(name),
        shell:
            "python -m invgrad notebook --source {input.notebook} --parameters {params.parameters:q} --out {output.executed}"
            " --log {log.notebook} 2>&1 | tee {log.messages}"
