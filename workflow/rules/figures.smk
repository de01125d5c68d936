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
            described=ancient(plan.described(name)),
            notebook=ancient(plan.notebook(name)),
            anew=anew(files.notebook(name)),
        output:
            [
                report(
                    update(path),
                    caption="../report/artefact.rst",
                    category=lambda w, artefact=artefact: artefact.where,
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
            # Functions, since Snakemake takes braces in a text for wildcards.
            parameters=lambda w, name=name: notebook_json(plan, name),
            reads=lambda w, input: options("reads", [*input.shown, *input.described]),
            writes=options("writes", plan.outputs(name)),
            title=lambda w, artefact=artefact: artefact.title,
            about=lambda w, artefact=artefact: artefact.about,
        shell:
            "exec python -m invgrad --log {log.messages} notebook --source {input.notebook} --parameters {params.parameters:q} --out {output.executed}"
            " --log {log.notebook} {params.reads} {params.writes}"


# Whoever asks for what this scale does not make learns why.
for name in plan.project.experiments.artefacts.keys() - plan.artefacts.keys():

    rule:
        name:
            name
        input:
            lambda w, name=name: not_made(name),


rule report:
    input:
        ancient([plan.outputs(name) for name in MADE]),
        ancient([files.notebook(name) for name in MADE]),
        ancient([FIGURES / "rows.csv", FIGURES / "verdicts.csv"]),
        description=ancient(files.description()),
        paper=ancient(plan.project.config.paper_values),
        details=ancient(plan.project.config.open_details),
        anew=anew(FIGURES / "report.html"),
    output:
        report=update(FIGURES / "report.html"),
        index=update(FIGURES / "index.md"),
        record=update(record(FIGURES / "report.html")),
    log:
        files.root / "logs/report.log",
    conda:
        "../../envs/environment.yaml"
    params:
        results=files.root,
        figures=FIGURES,
    shell:
        "exec python -m invgrad --log {log} report --description {input.description} --paper-values {input.paper} --details {input.details}"
        " --results {params.results} --figures {params.figures} --index {output.index} --out {output.report}"
