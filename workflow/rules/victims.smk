rule victims:
    input:
        [
            RESULTS / f"victims/{name}/seed{seed}.safetensors"
            for name, seed in plan.victims
        ],


def training_data(w):
    victim = plan.victim(w.victim)
    return (
        [RESULTS / f"data/{victim.dataset}-train.safetensors"]
        if victim.training
        else []
    )


rule victim:
    input:
        code=step_code("train"),
        validation=lambda w: RESULTS
        / f"data/{plan.victim(w.victim).dataset}-validation.safetensors",
        data=training_data,
    output:
        victim=RESULTS / "victims/{victim}/seed{seed}.safetensors",
        record=RESULTS / "victims/{victim}/seed{seed}.json",
    log:
        RESULTS / "logs/victims/{victim}/seed{seed}.log",
    threads: 1
    params:
        settings=lambda w: plan.train_settings(w.victim, int(w.seed)),
        data=lambda w, input: f"--data {input.data}" if input.data else "",
    shell:
        "invgrad train --settings {params.settings:q} --validation {input.validation} {params.data}"
        " --out {output.victim} --device {DEVICE} --threads {threads} 2>&1 | tee {log}"
