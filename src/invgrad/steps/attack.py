"""Step `attack`: reconstructions from a victim and what its clients shared; it never reads the clients' images."""

from pathlib import Path

import torch

from invgrad.attack.options import RunOptions
from invgrad.attack.run import reconstruct_with_progress
from invgrad.attack.settings import AttackStep
from invgrad.clients.shared import read_shared
from invgrad.networks.checkpoint import load_victim
from invgrad.networks.settings import source_files
from invgrad.results.files import write_tensors
from invgrad.results.origin import Origin, refuse_another_victim
from invgrad.results.provenance import Record
from invgrad.runtime.checkpoints import Checkpoint
from invgrad.runtime.settings import CheckpointInterval
from invgrad.runtime.signals import StopSignal
from invgrad.tangent.kernels.library import loaded_checksums


def attack_shard(
    step: AttackStep,
    victim: Path,
    shared_path: Path,
    out: Path,
    checkpoint: Path | None,
    device: torch.device,
    memory: int | None = None,
    every: CheckpointInterval | None = None,
    stop: StopSignal | None = None,
) -> None:
    """Attack every client of a shard, and write the selected reconstructions to `out`, with a record.

    If snapshots are kept, the trajectories are written, too. `memory`: bytes, as in `RunOptions`.

    The state of the attack is written to `checkpoint` as often as `every` says. A state that an earlier call left there
    is resumed if it is of the same settings, victim, clients and code. The state of the finished attack stays there, in
    case that the result is lost. Without a `checkpoint` the state lies beside `out` until that is written. Raises
    `Interrupted` if `stop` was requested, after writing the state.
    """
    inputs = {"victim": victim, "shared": shared_path, "start": step.start_file()}
    origin = Origin.of("attack", step.model_dump(mode="json"), inputs, source_files(step.custom))
    record = Record(origin, device)
    refuse_another_victim(shared_path, origin)
    network, _ = load_victim(victim, device, custom=step.custom)
    client, shared = read_shared(shared_path, network)
    unfinished = Checkpoint(checkpoint or out.with_stem(f"{out.stem}-unfinished"), origin, device, every, stop)
    options = RunOptions(memory=memory, checkpoint=unfinished)
    title = f"attack {out.parent.name} {out.stem}"
    result = reconstruct_with_progress(
        title, network, client, shared, step.attack, seed_key=step.seed_key, options=options
    )
    record.seconds_before, record.devices_before = unfinished.seconds_before, unfinished.devices_before
    iterations = int(result.iterations.sum())
    about = {"mean": shared.mean, "std": shared.std, "precision": step.attack.precision}
    write_tensors(out, {name: tensor for name, tensor in vars(result).items() if tensor.numel()}, about)
    record.write(
        out,
        clients=len(shared),
        trials=result.iterations.numel(),
        compiled_kernels=loaded_checksums() if device.type == "cpu" else {},
        ms_per_trial_iteration=1000 * record.seconds / iterations if iterations else None,
        resumed=unfinished.resumed,
    )
    if checkpoint is None:
        unfinished.remove()
