rule victims:
    input:
        plan.victim_files(CELLS),


# One rule a victim, because each is kept after other epochs of its training.
for name in plan.victims:

    rule:
        name:
            f"victim-{name}"
        input:
            **training_data(name),
            network=plan.network_files(name),
        output:
            [files.victim(name, "{seed}", epoch) for epoch in plan.snapshots(name)],
            [record(files.victim(name, "{seed}", epoch)) for epoch in plan.snapshots(name)],
            victim=files.victim(name, "{seed}"),
            record=record(files.victim(name, "{seed}")),
        log:
            files.log(files.victim(name, "{seed}")),
        localrule: not plan.victim(name).epochs
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            device=DEVICE,
            every_seconds=EVERY_SECONDS,
            every_iterations=EVERY_ITERATIONS,
        params:
            code=fingerprint(step_code("train")),
            settings=train_settings(name),
            # Not an output, since an unfinished training is to survive the job.
            checkpoint=str(files.unfinished(files.victim(name, "{seed}"))),
            data=lambda w, input: [
                f"--{split} {input[split]}" for split in ("validation", "data") if split in input.keys()
            ],
        shell:
            "python -m invgrad train --settings {params.settings:q} {params.data} --out {output.victim}"
            " --checkpoint {params.checkpoint} --every-seconds {resources.every_seconds}"
            " --every-iterations {resources.every_iterations} --device {resources.device} --threads {threads} 2>&1 | logged {log}"
