def data_options(w):
    try:
        return plan.data_options(w.dataset, w.split, w.part.lstrip("-"))
    except SettingsError as error:  # data that is not there is told before any job starts
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


# Of a split too large for one file there is a part for each group of clients.
rule data:
    input:
        registry="data/datasets.yaml",
    output:
        split=files.split("{dataset}", "{split}{part}"),
        record=record(files.split("{dataset}", "{split}{part}")),
    log:
        files.log(files.split("{dataset}", "{split}{part}")),
    conda:
        "../../envs/environment.yaml"
    params:
        code=fingerprint(step_code("data")),
        options=data_options,
    shell:
        "python -m invgrad data {params.options} --out {output.split} 2>&1 | tee {log}"
