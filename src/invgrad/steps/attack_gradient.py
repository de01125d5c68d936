"""Command `attack-gradient`: an attack on a gradient in a file of the user's own."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from invgrad.attack.result import Reconstruction
from invgrad.attack.run import reconstruct_with_progress
from invgrad.clients.settings import GradientClient
from invgrad.clients.shared import Shared
from invgrad.data.images import denormalise
from invgrad.networks.settings import source_files
from invgrad.results.arrays import read_arrays
from invgrad.results.files import sha256, write_tensors
from invgrad.results.origin import Origin
from invgrad.results.provenance import Record, record_path
from invgrad.runtime.devices import arithmetic
from invgrad.steps.pictures import numbered_pngs, refuse_existing, shown, write_pngs
from invgrad.steps.settings import GradientAttack
from invgrad.steps.victim import Victim, victim_of


def attack_gradient(
    step: GradientAttack, gradient: Path, checkpoint: Path | None, out: Path, device: torch.device
) -> None:
    """Attack a gradient, and write the reconstruction to the folder `out`.

    The files are `reconstruction.png` (for several images `reconstruction-1.png` …), `reconstruction.safetensors` with
    the images in [0, 1] before they are clipped and their labels, and its record `reconstruction.json`. Prints labels
    and losses. Raises `SettingsError` before any iteration if an argument cannot be used, or if a file that would be
    written exists.
    """
    victim = victim_of(step, checkpoint, device)
    inputs = {"gradient": gradient, "checkpoint": checkpoint}
    origin = Origin.of("attack_gradient", step.model_dump(mode="json"), inputs, source_files(victim.network))
    record = Record(origin, device)
    with arithmetic(step.attack.precision, step.attack.deterministic, device):
        network = victim.build()
        shared = _shared(step, victim, network, gradient)
        pictures = numbered_pngs(out, "reconstruction", step.images or len(step.labels) or 1)
        tensors = out / "reconstruction.safetensors"
        refuse_existing(out, [tensors, record_path(tensors), *pictures])
        key = f"gradient/{step.seed}"
        result = reconstruct_with_progress("attack", network, GradientClient(), shared, step.attack, seed_key=key)
    images = result.images[0].float().cpu()
    write_pngs(pictures, shown(images, victim.mean, victim.std))
    about = {"mean": victim.mean, "std": victim.std}
    write_tensors(tensors, {"images": denormalise(images, victim.mean, victim.std), "labels": result.labels[0]}, about)
    record.write(tensors, pictures, victim=victim.record(), checkpoint=sha256(checkpoint) if checkpoint else None)
    _say(result, pictures, inferred=not step.labels)


def _shared(step: GradientAttack, victim: Victim, network: nn.Module, gradient: Path) -> Shared:
    return Shared.of(
        network,
        read_arrays(gradient),
        shape=victim.shape,
        labels=step.labels or None,
        images=step.images,
        mean=victim.mean,
        std=victim.std,
        learning_rate=step.learning_rate,
    )


def _say(result: Reconstruction, pictures: Sequence[Path], *, inferred: bool) -> None:
    selected = int(result.selected[0])
    least = f"gradient-matching loss {result.matching_cost[0, selected].item():.4g}"
    loss = "averaged restarts" if selected < 0 else least
    words = loss if result.images[0].isfinite().all() else "every restart failed"
    for path, label in zip(pictures, result.labels[0].tolist(), strict=True):
        print(f"{path}: label {label}, {'inferred' if inferred else 'as given'}; {words}")
