def shards(cell, pattern):
    """The pattern filled in for every shard of a cell."""
    return [
        str(RESULTS / pattern).format(
            cell=cell,
            clients=plan.cells[cell].clients,
            seed=shard.seed,
            shard=shard.number,
        )
        for shard in plan.shards(cell)
    ]


rule reconstructions:
    input:
        [
            shards(cell, "reconstructions/{cell}/seed{seed}-shard{shard}.safetensors")
            for cell in plan.cells
        ],


def victim_of(clients):
    return plan.project.experiments.clients[clients].victim


def targets_of(clients):
    chosen = plan.project.experiments.clients[clients]
    return (
        RESULTS
        / f"data/{plan.victim(chosen.victim).dataset}-{chosen.targets.split}.safetensors"
    )


# What the server sees and the clients' images go to different files: an attack has only the first as input.
rule share:
    input:
        code=step_code("share"),
        victim=lambda w: RESULTS
        / f"victims/{victim_of(w.clients)}/seed{w.seed}.safetensors",
        data=lambda w: targets_of(w.clients),
    output:
        shared=RESULTS / "shared/{clients}/seed{seed}-shard{shard}.safetensors",
        shared_record=RESULTS / "shared/{clients}/seed{seed}-shard{shard}.json",
        truth=RESULTS / "truth/{clients}/seed{seed}-shard{shard}.safetensors",
        truth_record=RESULTS / "truth/{clients}/seed{seed}-shard{shard}.json",
    log:
        RESULTS / "logs/share/{clients}/seed{seed}-shard{shard}.log",
    threads: 1
    params:
        settings=lambda w: plan.share_settings(w.clients, int(w.shard)),
    shell:
        "invgrad share --settings {params.settings:q} --victim {input.victim} --data {input.data}"
        " --out {output.shared} --truth {output.truth} --device {DEVICE} --threads {threads} 2>&1 | tee {log}"


rule reconstruct:
    input:
        code=step_code("reconstruct"),
        victim=lambda w: RESULTS
        / f"victims/{plan.clients(w.cell).victim}/seed{w.seed}.safetensors",
        shared=lambda w: RESULTS
        / f"shared/{plan.cells[w.cell].clients}/seed{w.seed}-shard{w.shard}.safetensors",
    output:
        reconstruction=RESULTS
        / "reconstructions/{cell}/seed{seed}-shard{shard}.safetensors",
        record=RESULTS / "reconstructions/{cell}/seed{seed}-shard{shard}.json",
    log:
        RESULTS / "logs/reconstruct/{cell}/seed{seed}-shard{shard}.log",
    threads: lambda w: plan.threads(plan.clients(w.cell).victim, workflow.cores or 1)
    params:
        settings=lambda w: plan.reconstruct_settings(w.cell, int(w.seed)),
    shell:
        "invgrad reconstruct --settings {params.settings:q} --victim {input.victim} --shared {input.shared}"
        " --out {output.reconstruction} --device {DEVICE} --threads {threads} 2>&1 | tee {log}"
