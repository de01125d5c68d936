rule victims:
    input:
        plan.victim_files(CELLS),


# One rule a victim, because each is kept after other epochs of its training.
for name in plan.victims:

    rule:
        name:
            f"victim-{name}"
        input:
            validation=ancient(plan.validation_split(name)),
            data=ancient(plan.training_split(name)),
            trained=lambda w, name=name: ancient(plan.given_files(name, w.seed)),
            anew=anew(*(files.victim(name, "{seed}", epoch) for epoch in (None, *plan.snapshots(name)))),
        output:
            [files.victim(name, "{seed}", epoch) for epoch in plan.snapshots(name)],
            [record(files.victim(name, "{seed}", epoch)) for epoch in plan.snapshots(name)],
            victim=files.victim(name, "{seed}"),
            record=record(files.victim(name, "{seed}")),
        log:
            files.log(files.victim(name, "{seed}")),
        localrule: not plan.victim(name).is_trained_here
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            device=DEVICE,
            every_seconds=EVERY_SECONDS,
            every_iterations=EVERY_ITERATIONS,
        params:
            settings=lambda w, name=name: plan.train_json(name, int(w.seed)),
            # Not an output, since an unfinished training is to survive the job.
            checkpoint=str(files.unfinished(files.victim(name, "{seed}"))),
            data=lambda w, name=name: [
                *options("validation", plan.validation_split(name)),
                *options("data", plan.training_split(name)),
                *options("trained", plan.given_files(name, w.seed)[:1]),
            ],
        shell:
            "exec python -m invgrad --log {log} train --settings {params.settings:q} {params.data} --out {output.victim}"
            " --checkpoint {params.checkpoint} --every-seconds {resources.every_seconds}"
            " --every-iterations {resources.every_iterations} --device {resources.device} --threads {threads}"
