"""Command `reconstruct`: an attack on a client that holds images of the user's own."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from invgrad.attack.run import reconstruct_with_progress
from invgrad.clients.sharing import promise, shared_by
from invgrad.data.images import fit_image, normalise
from invgrad.metrics.activations import activation_errors
from invgrad.metrics.image_pairs import compare
from invgrad.networks.settings import source_files
from invgrad.results.files import sha256, write_csv
from invgrad.results.origin import Origin, numbered
from invgrad.results.provenance import Record, device_name
from invgrad.runtime.devices import arithmetic
from invgrad.settings import SettingsError
from invgrad.steps.pictures import numbered_pngs, refuse_existing, shown, write_pngs
from invgrad.steps.settings import ImageAttack
from invgrad.steps.victim import Victim, predicted, victim_of


def attack_images(
    step: ImageAttack, paths: Sequence[Path], checkpoint: Path | None, out: Path, device: torch.device
) -> None:
    """Attack a client that holds these image files, and write the results to the folder `out`.

    The files are `original.png` and `reconstruction.png` in the network's resolution (for several images
    `original-1.png` …), `metrics.csv` with a row for each, its record `metrics.json`, and `activation_errors.csv`.
    Prints how images were cropped, their labels, what a defence's noise promises, and the metrics. Raises
    `SettingsError` before any iteration if an argument cannot be used, or if a file that would be written exists.
    """
    about = victim_of(step, checkpoint, device, otherwise="cifar10")
    inputs, code = {"victim": checkpoint} | numbered("image", paths), source_files(about.network)
    record = Record(Origin.of("reconstruct", step.model_dump(mode="json"), inputs, code), device)
    with arithmetic("float32", step.attack.deterministic, device):
        _check_request(step, len(paths), about.classes)
        pixels = _read(paths, about)
        files = _files(out, len(paths))
        network = about.build()
        images = normalise(pixels, about.mean, about.std, torch.float32, device)
        labels = torch.tensor(step.labels) if step.labels else predicted(network, images)
        _say_labels(step, paths, labels.tolist(), about.class_names)
        if said := promise(step.shares.defence):
            print(f"noise: {said}")
        shared = shared_by(
            step.shares,
            network,
            pixels[None],
            labels[None],
            mean=about.mean,
            std=about.std,
            labels_known=step.labels_known,
            seeds=[("pictures", step.seed)],
        )
        result = reconstruct_with_progress(
            "attack", network, step.shares, shared, step.attack, seed_key=f"pictures/{step.seed}"
        )
        seconds = round(record.seconds, 3)
        attacked: dict[str, Tensor] = {name: tensor.cpu() for name, tensor in vars(result).items()}
        measures, positions = compare(attacked, pixels[None], labels[None], about.mean, about.std)
        found = attacked["images"][0, positions[0]].float()
        errors = activation_errors(network, images, found.to(device))
    write_pngs(files["original"], pixels)
    write_pngs(files["reconstruction"], shown(found, about.mean, about.std))
    measures.insert(0, "image", [str(path) for path in paths])
    _say_measures(measures)
    write_csv(files["activation_errors"][0], pd.DataFrame(errors))
    write_csv(
        files["metrics"][0],
        measures.assign(precision=step.attack.precision, device=device_name(device), seconds=seconds),
    )
    record.write(
        files["metrics"][0],
        victim=about.record(),
        checkpoint=sha256(checkpoint) if checkpoint else None,
        images={str(path): sha256(path) for path in paths},
    )


def _files(out: Path, images: int) -> dict[str, list[Path]]:
    """The files to write; `SettingsError` if one exists."""
    files = {name: numbered_pngs(out, name, images) for name in ("original", "reconstruction")}
    files |= {name: [out / f"{name}.csv"] for name in ("metrics", "activation_errors")}
    refuse_existing(out, [out / "metrics.json", *(file for group in files.values() for file in group)])
    return files


def _check_request(step: ImageAttack, images: int, classes: int) -> None:
    if step.labels and len(step.labels) != images:
        raise SettingsError(f"--label: {len(step.labels)} labels for {images} images; give one for each, or none")
    if too_large := [label for label in step.labels if label >= classes]:
        raise SettingsError(f"--label: the network has no class {too_large[0]}; nearest: {classes - 1}")
    try:
        step.shares.check(images)
    except ValueError as error:
        raise SettingsError(f"--shares: {error}") from None


def _read(paths: Sequence[Path], about: Victim) -> Tensor:
    """Read image files as uint8 [n, channels, size, size], and print what was changed of each."""
    pixels = []
    for path in paths:
        image, change = fit_image(path, size=about.size, resize=about.resize, channels=len(about.mean))
        if change:
            print(f"{path}: {change}")
        pixels.append(image)
    return torch.stack(pixels)


def _say_labels(step: ImageAttack, paths: Sequence[Path], labels: Iterable[int], names: Sequence[str]) -> None:
    origin = "as given" if step.labels else "the network's own prediction"
    hidden = "" if step.labels_known else ", hidden from the server"
    for path, label in zip(paths, labels, strict=True):
        name = f" ({names[label]})" if names else ""
        print(f"{path}: label {label}{name}, {origin}{hidden}")


def _say_measures(measures: pd.DataFrame) -> None:
    for row in measures.itertuples():
        words = f"PSNR {row.psnr:.2f} dB, SSIM {row.ssim:.3f}, gradient-matching loss {row.matching_cost:.4g}"
        print(f"{row.image}: {words if row.status == 'ok' else 'every restart failed'}")
