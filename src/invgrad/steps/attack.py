"""The attack: from a victim and what its clients shared to reconstructions. It never reads the clients' images."""

from pathlib import Path

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from invgrad.attack import Reconstruction, Shared
from invgrad.attack_settings import FromImage
from invgrad.attacks import AnyAttack
from invgrad.clients.settings import Client
from invgrad.compiled import library
from invgrad.networks.settings import Custom, source_file
from invgrad.progress import Progress
from invgrad.results import Record, read_tensors, write_tensors
from invgrad.running import Keeper
from invgrad.settings import Settings, SettingsError
from invgrad.stopping import Stop
from invgrad.unfinished import Keeping, Unfinished, origin_of
from invgrad.victims import load_victim

CLIENT: TypeAdapter[Client] = TypeAdapter(Client)


class AttackStep(Settings):
    """The attack, and the key from which the noise that it starts from is derived."""

    attack: AnyAttack
    seed_key: str
    custom: Custom | None = None

    def files(self) -> list[Path]:
        """What is read besides the victim and what was shared."""
        start = getattr(self.attack, "start", None)
        picture = start.path if isinstance(start, FromImage) else None
        code = source_file(self.custom) if self.custom else None
        return [file for file in (picture, code) if file]


def attack_shard(
    step: AttackStep,
    victim: Path,
    shared_path: Path,
    out: Path,
    checkpoint: Path | None,
    device: torch.device,
    memory: int | None = None,
    every: Keeping | None = None,
    stop: Stop | None = None,
) -> None:
    """Attack every client of a shard; write the selected reconstructions, with the trajectories if snapshots are kept,
    to `out`, with a record. `memory`: as of `reconstruct`.

    The state of the attack is kept in `checkpoint` as often as `every` says; one that another call left there is gone
    on from, if it is of the same settings, victim, clients and code. The last, of the ended attack, stays there for
    whoever may lose the result; without a `checkpoint` the state lies beside `out` until that is written. Raises
    `Stopped` once `stop` asks for it and the state is kept.
    """
    record = Record(step.model_dump(mode="json"), device)
    network, _ = load_victim(victim, device, custom=step.custom)
    client, shared = read_shared(shared_path, network)
    origin = origin_of("attack", step, [victim, shared_path, *step.files()])
    unfinished = Unfinished(checkpoint or out.with_stem(f"{out.stem}-unfinished"), origin, device, every, stop)
    title = f"attack {out.parent.name} {out.stem}"
    result = reconstruct_with_progress(title, network, client, shared, step.attack, step.seed_key, memory, unfinished)
    record.seconds_before, record.devices_before = unfinished.seconds_before, unfinished.devices_before
    iterations = int(result.iterations.sum())
    about = {"mean": shared.mean, "std": shared.std, "precision": step.attack.precision}
    write_tensors(out, {name: tensor for name, tensor in vars(result).items() if tensor.numel()}, about)
    record.write(
        out,
        clients=len(shared),
        trials=result.iterations.numel(),
        compiled_kernels=[name for name in ("convolution", "winograd") if device.type == "cpu" and library(name)],
        ms_per_trial_iteration=1000 * record.seconds / iterations if iterations else None,
        resumed=unfinished.resumed,
    )
    if checkpoint is None:
        unfinished.remove()


def reconstruct_with_progress(
    title: str,
    network: nn.Module,
    client: Client,
    shared: Shared,
    attack: AnyAttack,
    seed_key: str,
    memory: int | None = None,
    keeper: Keeper | None = None,
) -> Reconstruction:
    """As the attack's `run`, showing how far it is under this title."""
    with Progress(title, attack.steps(len(shared))) as progress:

        def show(done: int, _: int, matching: Tensor) -> None:
            if progress.due():
                progress.show(done, f"matching cost {matching.nanmean().item():.4f}")

        return attack.run(network, client, shared, seed_key=seed_key, memory=memory, progress=show, keeper=keeper)


def read_shared(path: Path, network: nn.Module) -> tuple[Client, Shared]:
    """What the server has of the clients of a shard: the protocol that they follow, and what they shared."""
    tensors, about = read_tensors(path)
    names = [f"shared.{name}" for name, _ in network.named_parameters()]
    if missing := [name for name in names if name not in tensors]:
        raise SettingsError(f"{path}: was shared by clients of another network: it has no '{missing[0]}'")
    shared = Shared(
        tensors=tuple(tensors[name] for name in names),
        images=about["images"],
        shape=tuple(about["shape"]),
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        labels=tensors.get("labels"),
        statistics=tuple(tensors[name] for name in sorted(tensors) if name.startswith("statistics.")),
        names=tuple(about["names"]),
    )
    return CLIENT.validate_python(about["shares"]), shared
