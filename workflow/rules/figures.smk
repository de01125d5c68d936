rule figures:
    input:
        [plan.outputs(name) for name in MADE],


# One rule an artefact, because each writes other kinds of files.
for name, artefact in plan.artefacts.items():

    rule:
        name:
            name
        input:
            shown=ancient(plan.shown(name)),
            shown_records=records(plan.shown(name)),
            described=plan.described(name),
            notebook=plan.notebook(name),
            paper=plan.project.config.paper_values,
        output:
            [
                report(
                    path,
                    caption="../report/artefact.rst",
                    category=artefact.where,
                    labels={"artefact": name, "file": path.name},
                )
                for path in plan.outputs(name)
            ],
            executed=files.notebook(name),
            record=record(files.notebook(name)),
        log:
            notebook=files.log(files.notebook(name)).with_suffix(".ipynb"),
            messages=files.log(files.notebook(name)),
        localrule: True
        conda:
            "../../envs/environment.yaml"
        params:
            code=fingerprint([*step_code("notebook"), *imported_code(plan.notebook(name))]),
            parameters=notebook_json(plan, name),
            title=artefact.title,
            about=artefact.about,
        shell:
            "exec python -m invgrad --log {log.messages} notebook --source {input.notebook} --parameters {params.parameters:q} --out {output.executed}"
            " --log {log.notebook}"


rule report:
    input:
        [plan.outputs(name) for name in MADE],
        [record(files.notebook(name)) for name in MADE],
        verdicts=rules.verdict.output.verdicts,
        description=files.description(),
        paper=plan.project.config.paper_values,
        details=plan.project.config.open_details,
    output:
        report=FIGURES / "report.html",
        index=FIGURES / "index.md",
    log:
        files.root / "logs/report.log",
    conda:
        "../../envs/environment.yaml"
    params:
        code=fingerprint([*step_code("report"), *plan.report_templates()]),
        results=files.root,
        figures=FIGURES,
    shell:
        "exec python -m invgrad --log {log} report --description {input.description} --paper-values {input.paper} --details {input.details}"
        " --results {params.results} --figures {params.figures} --index {output.index} --out {output.report}"
