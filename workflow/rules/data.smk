rule datasets:
    input:
        plan.splits(CELLS),


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
        "exec python -m invgrad --log {log} data {params.options} --out {output.split}"
