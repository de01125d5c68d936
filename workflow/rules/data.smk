rule datasets:
    input:
        list(plan.splits(CELLS)),


# Of a split too large for one file there is a part for each group of clients.
rule data:
    input:
        anew=anew(files.split("{dataset}", "{split}{part}")),
    output:
        split=files.split("{dataset}", "{split}{part}"),
        record=record(files.split("{dataset}", "{split}{part}")),
    log:
        files.log(files.split("{dataset}", "{split}{part}")),
    conda:
        "../../envs/environment.yaml"
    params:
        options=data_options,
    shell:
        "exec python -m invgrad --log {log} data {params.options} --out {output.split}"
