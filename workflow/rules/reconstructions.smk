rule reconstructions:
    input:
        [plan.reconstructions(cell) for cell in CELLS],


# What the server sees and the clients' images go to different files: an attack has only the first as input.
rule share:
    input:
        victim=ancient(lambda w: plan.victim_file(w.clients, w.seed)),
        data=ancient(lambda w: plan.data_for_clients(w.clients)),
        anew=anew(files.shared("{clients}", "{seed}", "{shard}"), files.truth("{clients}", "{seed}", "{shard}")),
    output:
        shared=files.shared("{clients}", "{seed}", "{shard}"),
        shared_record=record(files.shared("{clients}", "{seed}", "{shard}")),
        truth=files.truth("{clients}", "{seed}", "{shard}"),
        truth_record=record(files.truth("{clients}", "{seed}", "{shard}")),
    log:
        files.log(files.shared("{clients}", "{seed}", "{shard}")),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        device=DEVICE,
    params:
        settings=lambda w: plan.share_json(w.clients, int(w.shard)),
    shell:
        "exec python -m invgrad --log {log} share --settings {params.settings:q} --victim {input.victim} --data {input.data}"
        " --out {output.shared} --truth {output.truth} --device {resources.device} --threads {threads}"


rule attack:
    input:
        victim=ancient(lambda w: plan.victim_file(plan.cells[w.cell].clients, w.seed)),
        shared=ancient(lambda w: files.shared(plan.cells[w.cell].clients, w.seed, w.shard)),
        start=ancient(lambda w: plan.attack_files(w.cell)),
        anew=anew(files.reconstruction("{cell}", "{seed}", "{shard}")),
    output:
        reconstruction=files.reconstruction("{cell}", "{seed}", "{shard}"),
        record=record(files.reconstruction("{cell}", "{seed}", "{shard}")),
    log:
        files.log(files.reconstruction("{cell}", "{seed}", "{shard}")),
    wildcard_constraints:
        cell=any_of(cell for cell in plan.cells if not allocation.has_short_jobs(cell)),
    conda:
        "../../envs/environment.yaml"
    threads: lambda w: allocation.threads(w.cell, workflow.resource_settings.cores or 1)
    resources:
        device=DEVICE,
        memory=MEMORY,
        every_seconds=EVERY_SECONDS,
        every_iterations=EVERY_ITERATIONS,
    params:
        # Not an output, since an unfinished attack is to survive the job.
        checkpoint=lambda w: files.unfinished(files.reconstruction(w.cell, w.seed, w.shard)),
        settings=lambda w: plan.attack_json(w.cell, int(w.seed)),
    shell:
        "exec python -m invgrad --log {log} attack --settings {params.settings:q} --victim {input.victim} --shared {input.shared}"
        " --out {output.reconstruction} --checkpoint {params.checkpoint} --every-seconds {resources.every_seconds}"
        " --every-iterations {resources.every_iterations} --memory {resources.memory} --device {resources.device}"
        " --threads {threads}"


# A rule of its own, so that a cluster can take many of these short jobs together.
use rule attack as attack_short with:
    wildcard_constraints:
        cell=any_of(cell for cell in plan.cells if allocation.has_short_jobs(cell)),
