"""Checks that experiments can be run: their images are at hand, their networks can be built."""

from collections.abc import Mapping
from pathlib import Path

from invgrad.attack.settings import Attack, FromImage
from invgrad.data.availability import available, find_source, published, what_to_put_where
from invgrad.data.registry import describe
from invgrad.experiments.layout import checkpoint_name
from invgrad.experiments.scales import Scale
from invgrad.experiments.schema import Experiments, must_exist
from invgrad.networks.facts import size_of
from invgrad.settings import SettingsError, unknown


def sources_of(
    experiments: Experiments, scale: Scale, chosen: Mapping[str, str], root: Path, path: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """The source of every data set that is at hand and, of the others, what to put where; `path`: the scale's file."""
    sources: dict[str, str] = {}
    missing: dict[str, str] = {}
    for dataset, splits in _needed(experiments).items():
        must_exist(dataset, scale.sources, "data set", f"{path}: sources")
        wanted = (chosen[dataset],) if dataset in chosen else scale.sources[dataset]
        try:
            found = find_source(dataset, splits, wanted, root)
        except SettingsError as error:
            raise SettingsError(f"sources.{dataset}: {error}") from None
        if found:
            sources[dataset] = found
        else:
            missing[dataset] = what_to_put_where(dataset, splits, wanted, root)
    for dataset in chosen:
        must_exist(dataset, scale.sources, "data set", "config: sources")
    _refuse_too_few_images(experiments, sources)
    return sources, missing


def _needed(experiments: Experiments) -> dict[str, set[str]]:
    """The splits of every data set that is used."""
    needed: dict[str, set[str]] = {}
    for clients in experiments.clients.values():
        victim = experiments.victims[clients.victim]
        training = {"train", "validation"} if victim.is_trained_here else set()
        needed.setdefault(victim.dataset, set()).update({clients.targets.split}, training)
    return needed


def _refuse_too_few_images(experiments: Experiments, sources: Mapping[str, str]) -> None:
    for name, clients in experiments.clients.items():
        targets, dataset = clients.targets, experiments.victims[clients.victim].dataset
        source = sources.get(dataset)
        split = targets.split
        there = available(dataset, split, source) if source else published(dataset, split)
        needed = targets.count * targets.images_per_client
        if targets.indices is not None and needed > len(targets.indices):
            raise SettingsError(
                f"clients.{name}.targets: {needed} images are needed, but indices has {len(targets.indices)}"
            )
        last = max(targets.indices) if targets.indices else targets.start + targets.every * (needed - 1)
        if last >= there:
            raise SettingsError(
                f"clients.{name}.targets: image {last + 1} of {dataset} is needed, but {source or 'it'} has {there}"
            )


def refuse_missing_checkpoints(experiments: Experiments) -> None:
    """Raise `SettingsError` for a checkpoint that is to be taken for a victim and does not exist."""
    for name in dict.fromkeys(cell.clients for cell in experiments.shown.values()):
        clients = experiments.clients[name]
        victim = experiments.victims[clients.victim]
        if victim.checkpoints is None:
            continue
        final = clients.epoch in (None, victim.epochs)
        for seed in clients.seeds:
            file = checkpoint_name(seed, None if final else clients.epoch)
            known = sorted(path.name for path in victim.checkpoints.glob("*.safetensors"))
            if file not in known:
                where = f"victims.{clients.victim}.checkpoints: {victim.checkpoints}"
                raise SettingsError(f"{where}: {unknown('checkpoint', file, known)}")


def refuse_missing_pictures(experiments: Experiments) -> None:
    """Raise `SettingsError` for an image that an attack is to start from and that does not exist."""
    for name, cell in experiments.cells.items():
        if isinstance(cell.attack, Attack) and isinstance(cell.attack.start, FromImage):
            path = cell.attack.start.path
            if not path.is_file():
                raise SettingsError(f"cells.{name}.attack.start.path: there is no file {path}")


def refuse_absent_gpu(device: str, gpus: Path = Path("/proc/driver/nvidia/gpus")) -> None:
    """Raise `SettingsError` for the number of a GPU that this machine does not have, if it has any.

    One without GPUs may be the login node of a cluster.
    """
    there = len(list(gpus.iterdir())) if gpus.is_dir() else 0
    if there and int(device.partition(":")[2] or 0) >= there:
        raise SettingsError(f"config: device: there is no {device} (nearest: cuda:{there - 1})")


def refuse_unversioned(folders: Mapping[str, Path], environment: Mapping[str, str]) -> None:
    """Raise `SettingsError` if DVC runs this and a folder lies outside of the repository, e.g. behind a link.

    DVC itself notices only when a stage has made what it cannot version.
    """
    repository = environment.get("DVC_ROOT")
    for key, folder in folders.items() if repository else ():
        if not folder.resolve().is_relative_to(Path(str(repository)).resolve()):
            raise SettingsError(
                f"config: {key}: {folder} is {folder.resolve()}, outside of the repository, where DVC versions nothing "
                "(nearest: a clone of the repository on that disk; to have there only DVC's copies of the results: "
                "`dvc cache dir FOLDER`; or snakemake without DVC)"
            )


def refuse_impossible_networks(experiments: Experiments) -> None:
    """Raise an error for a network that cannot be built for its data."""
    for name, victim in experiments.victims.items():
        dataset = describe(victim.dataset)
        try:
            size_of(victim.network, classes=dataset.classes, size=dataset.size)
        except SettingsError as error:
            raise SettingsError(f"victims.{name}.network: {error}") from None
