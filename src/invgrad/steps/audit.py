"""Command `audit`: an attack on a sample of clients, and a plain answer of what their gradients give away."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from invgrad.attack.layer_inputs import LayerLeak, joined, layer_leaks
from invgrad.attack.run import reconstruct_with_progress
from invgrad.clients.loss import trainable
from invgrad.clients.sharing import promise, shared_by
from invgrad.data.images import normalise, to_unit
from invgrad.data.samples import Sample, sample_folder, sample_split
from invgrad.metrics.image_quality import align
from invgrad.metrics.recovery import best_first, draws_needed, judge
from invgrad.networks.settings import source_files
from invgrad.report.audit import Audit, Layer, as_html, as_json, percent
from invgrad.results.files import sha256, write, write_json
from invgrad.results.origin import Origin
from invgrad.results.provenance import Record, device_name, record_path
from invgrad.runtime.devices import arithmetic
from invgrad.settings import SettingsError
from invgrad.steps.pictures import png, refuse_existing
from invgrad.steps.settings import AuditStep
from invgrad.steps.victim import Victim, predicted, victim_of

EXACT = 1e-3
"""Relative error up to which the input of a layer counts as found exactly, but for rounding."""

SHARED_AT_ONCE = 2**28
"""Entries of the updates that are held at once, of as many clients as that makes: 1 GiB."""


def audit(
    step: AuditStep, checkpoint: Path | None, folder: Path | None, root: Path | None, out: Path, device: torch.device
) -> bool:
    """Attack a sample of clients, write what came out to the folder `out`, and return False if it fails the limit.

    Clients hold images of the `folder`, or of the network's data set below `root` or from a package. The files are
    `audit.html`, `audit.json` and its record `audit.record.json`. Prints the answer. Raises `SettingsError` before any
    iteration if an argument cannot be used, if the sample is too small to show what is asked for, or if a file that
    would be written exists.
    """
    _check_request(step)
    victim = victim_of(step, checkpoint, device, otherwise="cifar10")
    inputs, code = {"victim": checkpoint}, source_files(victim.network)
    record = Record(Origin.of("audit", step.model_dump(mode="json"), inputs, code), device)
    sample = _sample(step, victim, folder, root)
    page, results = out / "audit.html", out / "audit.json"
    refuse_existing(out, [page, results, record_path(results)])
    with arithmetic("float32", step.attack.deterministic, device):
        network = victim.build()
        labels = _labels(victim, network, sample)
        attacked, leaks = _attacked(step, victim, network, sample, labels)
    images, pictures = _judged(step, victim, sample, labels, attacked, leaks)
    report = Audit(
        network=_network_words(victim, checkpoint),
        source=sample.source,
        available=sample.size,
        labels=_labels_words(step, sample),
        client=step.shares,
        images_per_client=step.images_per_client,
        clients=step.clients,
        promise=promise(step.shares.defence),
        attack=step.attack,
        device=device_name(device),
        seconds=record.seconds,
        others=int(images["others"].min()),
        images=images,
        pictures=pictures,
        layers=[_layer(leak) for leak in leaks],
        limit=step.fail_if_recovered,
    )
    write(page, lambda partial: partial.write_text(as_html(report), encoding="utf-8"))
    write_json(results, as_json(report))
    record.write(results, [page], victim=victim.record(), checkpoint=sha256(checkpoint) if checkpoint else None)
    print(f"{report.answer}\n{page}")
    if report.judgement:
        print(report.judgement)
    return report.passed is not False


def _check_request(step: AuditStep) -> None:
    try:
        step.shares.check(step.images_per_client)
    except ValueError as error:
        raise SettingsError(f"--shares: {error}") from None
    limit = step.fail_if_recovered
    if limit is not None and step.clients < (needed := draws_needed(limit)):
        raise SettingsError(
            f"--fail-if-recovered: {step.clients} clients cannot show less than {percent(limit)}, even if nothing is "
            f"recovered; nearest: --clients {needed}"
        )


def _sample(step: AuditStep, victim: Victim, folder: Path | None, root: Path | None) -> Sample:
    count = step.clients * step.images_per_client
    if folder is not None:
        if root is not None:
            raise SettingsError("--root: the images are those of --images; leave one of the two out")
        return sample_folder(folder, victim.shape, victim.resize, count, step.seed)
    if victim.dataset is None:
        raise SettingsError("--images: name a folder of images, as the network is of no known data set")
    return sample_split(victim.dataset, step.split, root, count, step.seed)


def _labels(victim: Victim, network: nn.Module, sample: Sample) -> Tensor:
    """Return the labels of the images, [n]: those of the set, or those that the network predicts."""
    if sample.labels is not None:
        return sample.labels
    device = next(network.parameters()).device
    images = (normalise(each[None], victim.mean, victim.std, torch.float32, device) for each in sample.images)
    return torch.cat([predicted(network, image) for image in images])


def _attacked(
    step: AuditStep, victim: Victim, network: nn.Module, sample: Sample, labels: Tensor
) -> tuple[dict[str, Tensor], list[LayerLeak]]:
    """Attack all clients, as many at a time as memory holds; return what was found, and what the layers leak."""
    size = (step.clients, step.images_per_client)
    images, classes = sample.images.unflatten(0, size), labels.unflatten(0, size)
    names = [str(number) for number in range(step.clients)]
    found, leaks = [], []
    for part in _parts(
        step.clients, max(1, SHARED_AT_ONCE // sum(each.numel() for each in trainable(network).values()))
    ):
        shared = shared_by(
            step.shares,
            network,
            images[part],
            classes[part],
            mean=victim.mean,
            std=victim.std,
            labels_known=step.labels_known,
            seeds=[("audit", step.seed, name) for name in names[part]],
            names=names[part],
        )
        title = f"clients {part.start + 1} to {part.stop} of {step.clients}"
        result = reconstruct_with_progress(
            title, network, step.shares, shared, step.attack, seed_key=f"audit/{step.seed}"
        )
        found.append({"images": result.images.cpu(), "labels": result.labels.cpu()})
        pixels = normalise(images[part], victim.mean, victim.std, torch.float32, shared.tensors[0].device)
        leaks.append(layer_leaks(network, step.shares, shared, pixels))
    return {name: torch.cat([each[name] for each in found]) for name in found[0]}, joined(leaks)


def _parts(count: int, at_once: int) -> Iterator[slice]:
    for first in range(0, count, at_once):
        yield slice(first, min(count, first + at_once))


def _judged(
    step: AuditStep, victim: Victim, sample: Sample, labels: Tensor, attacked: dict[str, Tensor], leaks: list[LayerLeak]
) -> tuple[pd.DataFrame, dict[str, tuple[bytes, bytes]]]:
    """Judge what was found of each image, the best first; return PNG files of the original and of it besides."""
    size = (step.clients, step.images_per_client)
    attacks = {"optimisation": attacked}
    for leak in leaks:
        if leak.of_pixels:
            pixels = leak.found.unflatten(2, victim.shape).to(attacked["images"])
            attacks["analytic"] = {"images": pixels, "labels": torch.full(size, -1)}
    tables, reconstructions = {}, {}
    for name, found in attacks.items():
        aligned = align(found, sample.images.unflatten(0, size), labels.unflatten(0, size), victim.mean, victim.std)
        candidates = aligned.reconstructions.flatten(0, 1)
        others = to_unit(sample.others, candidates.dtype, "cpu")
        tables[name] = judge(candidates, aligned.originals.flatten(0, 1), others)
        reconstructions[name] = (255 * candidates.clamp(0, 1).nan_to_num(0)).round().to(torch.uint8)
    best = best_first(tables)
    which: list[int] = best["image"].tolist()
    best.insert(0, "name", [sample.names[image] for image in which])
    best.insert(1, "client", best["image"] // step.images_per_client)
    best.insert(2, "label", [victim.class_names[each] if victim.class_names else str(each) for each in labels[which]])
    return best, {
        sample.names[image]: (png(sample.images[image]), png(reconstructions[attack][image]))
        for attack, image in zip(best["attack"], which, strict=True)
    }


def _layer(leak: LayerLeak) -> Layer:
    return Layer(
        name=leak.layer,
        inputs=leak.inputs,
        of_pixels=leak.of_pixels,
        exact=int((leak.errors <= EXACT).sum()),
        median_error=float(leak.errors.median()),
    )


def _network_words(victim: Victim, checkpoint: Path | None) -> str:
    origin = f"parameters of {checkpoint.name}" if checkpoint else "without a checkpoint of its own"
    return f"{victim.network.title}, {victim.classes} classes, {origin}"


def _labels_words(step: AuditStep, sample: Sample) -> str:
    origin = "the network's own predictions" if sample.labels is None else "those of the data set"
    return f"{origin}, {'known to' if step.labels_known else 'hidden from'} the server"
