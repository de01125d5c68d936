rule data:
    input:
        code=step_code("data"),
        registry="data/datasets.yaml",
    output:
        split=RESULTS / "data/{dataset}-{split}.safetensors",
        record=RESULTS / "data/{dataset}-{split}.json",
    log:
        RESULTS / "logs/data/{dataset}-{split}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        options=lambda w: plan.data_options(w.dataset, w.split),
    shell:
        "python -m invgrad data {params.options} --out {output.split} 2>&1 | tee {log}"
