"""Steps from files to files: what they write, and what they refuse."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from examples import share_step
from PIL import Image
from torch import Tensor

from invgrad.attack.settings import Analytic, AnyAttack, Attack, AttackStep
from invgrad.clients.settings import FederatedAveraging, GradientClient, ShareStep
from invgrad.clients.sharing import swapped
from invgrad.data.images import jpeg_copies, normalise
from invgrad.data.sources import load
from invgrad.data.splits import read_split, save_split
from invgrad.defences.settings import Noise, Pruning
from invgrad.metrics.image_pairs import read_image_pairs, read_trajectories
from invgrad.metrics.image_quality import psnr
from invgrad.networks.checkpoint import load_victim, save_victim, untrained
from invgrad.networks.settings import MLP, LeNetZhu, Network, Training, TrainStep
from invgrad.results.files import read_tensors, write_tensors
from invgrad.results.origin import Origin
from invgrad.results.provenance import Record, read_record
from invgrad.runtime.checkpoints import Checkpoint, remove_states
from invgrad.runtime.settings import CheckpointInterval
from invgrad.settings import SettingsError, parse
from invgrad.steps.attack import attack_shard
from invgrad.steps.measure import measure, rows
from invgrad.steps.share import share_shard
from invgrad.steps.train import take_trained, train_victim
from invgrad.steps.verdict import every_row

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with CIFAR-10's first images and an untrained victim for them."""
    monkeypatch.chdir(ROOT)
    save_split(load("cifar10", "validation", "packaged", None), tmp_path / "cifar10.safetensors")
    step = TrainStep(network=LeNetZhu(), dataset="cifar10", training=None, seed=0)
    train_victim(step, None, None, tmp_path / "victim.safetensors", None, CPU)
    return tmp_path


def share_into(folder: Path, step: ShareStep) -> None:
    files = [folder / f"{name}.safetensors" for name in ("victim", "cifar10", "shared", "truth")]
    share_shard(step, *files, CPU)


@pytest.mark.parametrize("known", [True, False])
def test_labels_reach_the_server_only_if_they_are_known(made: Path, known: bool) -> None:
    share_into(made, share_step(labels_known=known))
    tensors, about = read_tensors(made / "shared.safetensors")
    assert ("labels" in tensors) == known
    assert all("cifar" not in name for name in about["names"]), "a name must not say which image it is"
    assert read_tensors(made / "truth.safetensors")[0]["labels"].tolist() == [[3], [8]]


def test_a_shard_is_a_part_of_the_whole(made: Path) -> None:
    share_into(made, share_step(first=0, last=4))
    whole, about = read_tensors(made / "shared.safetensors")
    share_into(made, share_step(first=2, last=4))
    part, about_part = read_tensors(made / "shared.safetensors")
    assert about_part["names"] == about["names"][2:]
    for name, tensor in part.items():
        torch.testing.assert_close(tensor, whole[name][2:])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"first": 2}, "must be less than"),
        ({"last": 30}, "are enough for 20 clients"),
        ({"images_per_client": 4, "shares": FederatedAveraging(steps=1, batch_size=3)}, "does not divide 4 images"),
    ],
)
def test_clients_that_cannot_be_are_refused(made: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        share_into(made, share_step(**changes))
    assert not (made / "shared.safetensors").exists()


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Validation and training split of a few photographs."""
    monkeypatch.chdir(ROOT)
    paths = tmp_path / "validation.safetensors", tmp_path / "train.safetensors"
    for split, path in zip(("validation", "train"), paths, strict=True):
        save_split(load("photos10", split, "packaged", None, limit=40), path)
    return paths


def training_of(**changes: Any) -> TrainStep:
    recipe = Training(epochs=4, batch_size=16, milestones=(3,))
    settings = {"network": LeNetZhu(), "dataset": "photos10", "training": recipe, "seed": 0, "snapshots": (4, 0, 2)}
    return TrainStep(**settings | changes)


EVERY_STEP = CheckpointInterval(iterations=1)


def stopped(steps: int, step: TrainStep, photos: tuple[Path, Path], out: Path, kept: Path) -> None:
    """A training that is stopped as by kill -9, after it took and kept so many steps (3 are an epoch)."""
    with pytest.MonkeyPatch.context() as patch:
        calls = iter(range(steps))
        keep = Checkpoint.keep

        def keep_or_die(self: Checkpoint, tensors: dict[str, Tensor]) -> None:
            keep(self, tensors)
            if next(calls) == steps - 1:
                raise KeyboardInterrupt

        patch.setattr(Checkpoint, "keep", keep_or_die)
        patch.setattr("invgrad.runtime.checkpoints.LEAST_WORK", 0)
        with pytest.raises(KeyboardInterrupt):
            train_victim(step, *photos, out, kept, CPU, EVERY_STEP)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def curve(record: Path) -> list[dict[str, Any]]:
    return json.loads(record.read_text())["curve"]


def test_a_stopped_training_ends_as_if_it_had_not_been(
    photos: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Snakemake removes what a failed job was to write, so only the checkpoint's folder may be relied upon."""
    step, kept = training_of(), tmp_path / "unfinished" / "seed0.safetensors"
    train_victim(step, *photos, tmp_path / "whole" / "seed0.safetensors", None, CPU)
    for steps in (1, 4, 3):  # within an epoch, within another, right before the accuracy of one is measured
        stopped(steps, step, photos, tmp_path / "parts" / "seed0.safetensors", kept)
        assert not (tmp_path / "parts").exists()
    train_victim(step, *photos, tmp_path / "parts" / "seed0.safetensors", kept, CPU)
    assert f"{kept}: the training resumes in epoch 3" in capsys.readouterr().out
    assert json.loads((tmp_path / "parts" / "seed0.json").read_text())["resumed"] == 3
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert list(contents(tmp_path / "whole")) == [
        f"seed0{after}.safetensors" for after in ("-epoch0", "-epoch2", "-epoch4", "")
    ]
    records = {file.stem: curve(file) for file in (tmp_path / "parts").glob("*.json")}
    assert records == {file.stem: curve(file) for file in (tmp_path / "whole").glob("*.json")}
    assert {name: len(each) for name, each in records.items()} == {
        "seed0": 4,
        "seed0-epoch0": 0,
        "seed0-epoch2": 2,
        "seed0-epoch4": 4,
    }
    (tmp_path / "parts" / "seed0.safetensors").unlink()  # before Snakemake saw it
    train_victim(step, *photos, tmp_path / "parts" / "seed0.safetensors", kept, CPU)
    assert f"{kept}: the training was complete" in capsys.readouterr().out
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    remove_states(kept.parent, tmp_path / "parts")
    assert not list(kept.parent.iterdir())


def test_snapshots_are_victims_of_shorter_trainings(photos: tuple[Path, Path], tmp_path: Path) -> None:
    """The milestones are the same, since they do not depend on how many epochs are run."""
    train_victim(training_of(), *photos, tmp_path / "long.safetensors", None, CPU)
    for epochs in (0, 2, 4):
        short = training_of(training=training_of().training.with_(epochs=epochs), snapshots=())
        shown = (photos[0], photos[1] if epochs else None)
        train_victim(short, *shown, tmp_path / "short.safetensors", None, CPU)
        first, _ = load_victim(tmp_path / "short.safetensors", CPU)
        second, _ = load_victim(tmp_path / f"long-epoch{epochs}.safetensors", CPU)
        assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


@pytest.mark.parametrize(
    "damage", ["other settings", "other data", "other code", "not a checkpoint", "cut", "tampered", "snapshot"]
)
def test_a_checkpoint_that_does_not_belong_is_not_used(
    damage: str,
    photos: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, out = tmp_path / "unfinished" / "seed0.safetensors", tmp_path / "made" / "seed0.safetensors"
    step = training_of(seed=1) if damage == "other settings" else training_of()
    stopped(7, step, photos, out, kept)
    words = f"{kept}: is of other settings, data or code"
    match damage:
        case "other code":
            monkeypatch.setattr("invgrad.results.origin.code_of", lambda *step: "of this code")
        case "other data":
            save_split(load("photos10", "train", "packaged", None, limit=39), photos[1])
        case "not a checkpoint":
            kept.write_text("not a checkpoint")
            words = f"{kept}: not a result file"
        case "cut":
            kept.write_bytes(kept.read_bytes()[:-1000])
            words = f"{kept}: not a result file"
        case "tampered":
            content = bytearray(kept.read_bytes())
            content[-1] ^= 1
            kept.write_bytes(content)
            words = f"{kept}: damaged: its sha256 is"
        case "snapshot":
            kept.with_stem("seed0-epoch2").write_bytes(kept.with_stem("seed0-epoch0").read_bytes()[:-8])
            words = f"{kept}: lacks its snapshot"
    train_victim(training_of(), *photos, out, kept, CPU)
    said = capsys.readouterr().out
    assert said.startswith(words)
    assert said.count("\n") == 1
    assert said.endswith("; starts from the beginning\n")
    assert json.loads(out.with_suffix(".json").read_text())["resumed"] == 0
    made = contents(out.parent)
    train_victim(training_of(), *photos, out, None, CPU)
    assert contents(out.parent) == made


@pytest.mark.parametrize(
    ("changes", "validation", "training", "words"),
    [
        ({}, True, False, "a victim that is to be trained needs both splits"),
        ({"dataset": "cifar10"}, True, True, "holds photos10, but the settings are for cifar10"),
        ({"training": None, "snapshots": ()}, True, True, "the settings say that this victim is not trained"),
        ({"training": Training(epochs=0), "snapshots": ()}, True, True, "is not trained"),
        ({"training": None, "snapshots": ()}, False, False, "--validation: give this split, since photos10 has no"),
    ],
)
def test_files_must_be_those_that_the_settings_need(
    changes: dict[str, Any], validation: bool, training: bool, words: str, photos: tuple[Path, Path], tmp_path: Path
) -> None:
    given = [path if wanted else None for path, wanted in zip(photos, (validation, training), strict=True)]
    with pytest.raises(SettingsError, match=words):
        train_victim(training_of(**changes), *given, tmp_path / "out" / "victim.safetensors", None, CPU)
    assert not (tmp_path / "out").exists()


def test_an_untrained_victim_needs_no_images(made: Path, tmp_path: Path) -> None:
    step = training_of(dataset="cifar10", training=Training(epochs=0), snapshots=(0,))
    for name, images in (("with", made / "cifar10.safetensors"), ("without", None)):
        train_victim(step, images, None, tmp_path / name / "victim.safetensors", None, CPU)
    assert contents(tmp_path / "with") == contents(tmp_path / "without")
    network, about = load_victim(tmp_path / "without" / "victim-epoch0.safetensors", CPU)
    assert about.dataset == "cifar10"
    assert all(map(torch.equal, network.state_dict().values(), about.build().state_dict().values()))


def test_a_victim_is_taken_from_an_earlier_training(photos: tuple[Path, Path], tmp_path: Path) -> None:
    trained, out = tmp_path / "trained" / "seed0.safetensors", tmp_path / "victims" / "seed0.safetensors"
    train_victim(training_of(), *photos, trained, None, CPU)
    take_trained(training_of(), trained, out)
    for path in sorted(trained.parent.glob("*.safetensors")):
        assert (out.parent / path.name).read_bytes() == path.read_bytes()
        record, earlier = (
            json.loads((each / path.name).with_suffix(".json").read_text()) for each in (out.parent, trained.parent)
        )
        assert record["trained"] == earlier
        assert record["curve"] == earlier["curve"]
    assert json.loads(out.with_suffix(".json").read_text())["trained"]["trained_on"] == read_split(photos[1]).source


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 5}, "seed0.safetensors: was trained with seed 0, not 5"),
        ({"training": Training(epochs=7)}, "was trained with training "),
        ({"network": MLP(widths=(5,))}, "was trained with network "),
    ],
)
def test_a_checkpoint_of_another_training_is_not_taken(
    photos: tuple[Path, Path], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    trained = tmp_path / "seed0.safetensors"
    train_victim(training_of(snapshots=()), *photos, trained, None, CPU)
    with pytest.raises(SettingsError, match=re.escape(words)):
        take_trained(training_of(**{"snapshots": ()} | changes), trained, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_a_checkpoint_that_its_record_does_not_know_is_not_taken(photos: tuple[Path, Path], tmp_path: Path) -> None:
    trained = tmp_path / "seed0.safetensors"
    train_victim(training_of(snapshots=()), *photos, trained, None, CPU)
    tensors, about = read_tensors(trained)
    write_tensors(trained, {name: tensor + 1 for name, tensor in tensors.items()}, about)
    with pytest.raises(SettingsError, match="is not the file that its record is about"):
        take_trained(training_of(snapshots=()), trained, tmp_path / "out.safetensors")


@pytest.mark.parametrize("settings", [5, [], "text", None])
def test_a_record_whose_settings_are_none_is_of_another_training(
    settings: object, photos: tuple[Path, Path], tmp_path: Path
) -> None:
    trained = tmp_path / "seed0.safetensors"
    train_victim(training_of(snapshots=()), *photos, trained, None, CPU)
    record = json.loads(trained.with_suffix(".json").read_text())
    trained.with_suffix(".json").write_text(json.dumps(record | {"settings": settings}))
    with pytest.raises(SettingsError, match="was trained with network null"):
        take_trained(training_of(snapshots=()), trained, tmp_path / "out.safetensors")


def test_a_bad_snapshot_is_told_before_anything_is_written(photos: tuple[Path, Path], tmp_path: Path) -> None:
    trained, out = tmp_path / "trained/seed0.safetensors", tmp_path / "victims/seed0.safetensors"
    train_victim(training_of(), *photos, trained, None, CPU)
    snapshot = trained.with_name("seed0-epoch2.json")
    record = json.loads(snapshot.read_text())
    del record["curve"]
    snapshot.write_text(json.dumps(record))
    with pytest.raises(SettingsError, match=r"seed0-epoch2.json: not the record of a training: lacks 'curve'"):
        take_trained(training_of(), trained, out)
    assert not out.parent.exists()


def test_there_is_no_snapshot_after_the_end() -> None:
    with pytest.raises(SettingsError, match="the training has no epoch 5; nearest: 4"):
        parse(TrainStep, training_of().model_dump() | {"snapshots": (1, 5)}, "here")


def measured(folder: Path, selected: list[int], failed: int | None = None) -> pd.DataFrame:
    share_into(folder, share_step())
    truth, _ = read_tensors(folder / "truth.safetensors")
    images = (truth["images"].float() / 255 - 0.5) / 0.25
    if failed is not None:
        images[failed] = torch.nan
    return rows_of(folder, images, truth["labels"], selected)


def rows_of(folder: Path, images: Tensor, labels: Tensor, selected: list[int]) -> pd.DataFrame:
    """The rows of a result file as an attack on two clients with two restarts would have written it."""
    tensors = {
        "images": images,
        "labels": labels,
        "matching_cost": torch.tensor([[0.3, 0.1], [0.2, 0.4]]),
        "iterations": torch.tensor([[5, 7], [9, 2]]),
        "selected": torch.tensor(selected),
    }
    about = {"mean": [0.5] * 3, "std": [0.25] * 3, "precision": "float32"}
    write_tensors(folder / "found.safetensors", tensors, about)
    Record(Origin("attack", {}, "", {}), CPU).write(folder / "found.safetensors")
    return rows("cell", 4, folder / "found.safetensors", folder / "truth.safetensors")


def test_a_failed_trial_is_a_row_without_measures(made: Path) -> None:
    table = measured(made, [1, -1], failed=1)
    assert table.status.tolist() == ["ok", "failed"]
    assert table.psnr[0] > 60
    assert table.matching_cost[0] == pytest.approx(0.1)
    assert table.iterations.tolist() == [7, 9]
    assert table.loc[1, ["psnr", "mse", "ssim", "matching_cost"]].isna().all()
    originals = read_tensors(made / "truth.safetensors")[0]["images"].flatten(0, 1) / 255
    assert table.flat_psnr.tolist() == pytest.approx(
        psnr(torch.full_like(originals, 0.5), originals).tolist(), rel=1e-5
    )
    assert table.seed.tolist() == [4, 4]


def test_rows_say_which_images_are_jpeg_copies(made: Path) -> None:
    data = made / "cifar10.safetensors"
    split = read_split(data)
    save_split(replace(split, lossy=torch.arange(len(split.images)) == 1), data)
    assert measured(made, [0, 0]).lossy.tolist() == [False, True]


def test_clients_may_hold_jpeg_copies(made: Path) -> None:
    split = read_split(made / "cifar10.safetensors")
    share_into(made, share_step(jpeg_quality=75))
    shared = read_tensors(made / "shared.safetensors")[0]
    true = read_tensors(made / "truth.safetensors")[0]
    copies = true["images"].flatten(0, 1)
    for position, copy in zip(true["index"].flatten().tolist(), copies, strict=True):
        file = io.BytesIO()
        Image.fromarray(split.images[split.index.tolist().index(position)].permute(1, 2, 0).numpy()).save(
            file, "JPEG", quality=75
        )
        assert np.array_equal(copy.permute(1, 2, 0), np.asarray(Image.open(file)))
    assert true["lossy"].all()
    save_split(replace(split, images=jpeg_copies(split.images, 75)), made / "cifar10.safetensors")
    share_into(made, share_step())
    assert all(torch.equal(each, shared[name]) for name, each in read_tensors(made / "shared.safetensors")[0].items())


def test_what_is_shared_is_defended_and_the_images_are_not(made: Path) -> None:
    share_into(made, share_step())
    plain, true = (read_tensors(made / f"{name}.safetensors")[0] for name in ("shared", "truth"))
    pruned = share_step(shares=GradientClient(defence=Pruning(share=0.9)))
    share_into(made, pruned)
    tensors = read_tensors(made / "shared.safetensors")[0]
    parts = [name for name in tensors if name.startswith("shared.")]
    for client in range(2):
        before, after = (torch.cat([each[name][client].flatten() for name in parts]) for each in (plain, tensors))
        kept = after != 0
        assert kept.sum() == len(after) - int(0.9 * len(after))
        assert torch.equal(after[kept], before[kept])
        assert before[~kept].abs().max() <= after[kept].abs().min()
    assert torch.equal(read_tensors(made / "truth.safetensors")[0]["images"], true["images"])
    noisy = share_step(shares=GradientClient(defence=Noise(clip=1.0, multiplier=0.01)))
    share_into(made, noisy)
    whole = read_tensors(made / "shared.safetensors")[0]
    share_into(made, noisy.with_(first=1))
    alone = read_tensors(made / "shared.safetensors")[0]
    assert all(torch.equal(alone[name][0], whole[name][1]) for name in parts), "noise does not depend on the sharding"


def test_settings_without_copies_are_as_before() -> None:
    assert "jpeg_quality" not in share_step().model_dump_json()


def test_averaged_restarts_have_no_matching_cost(made: Path) -> None:
    table = measured(made, [-1, -1])
    assert table.status.tolist() == ["ok", "ok"]
    assert table.matching_cost.isna().all()


def test_images_whose_order_the_attack_could_not_know_are_assigned(made: Path) -> None:
    """The first client's labels are in their order, the second's are not: only there may reconstructions move."""
    share_into(made, share_step(images_per_client=3))
    truth, _ = read_tensors(made / "truth.safetensors")
    images = (truth["images"].float() / 255 - 0.5) / 0.25
    images[0, [0, 1]] = images[0, [1, 0]]
    turned = [2, 0, 1]
    images[1], labels = images[1, turned], truth["labels"].clone()
    labels[1] = labels[1, turned]
    table = rows_of(made, images, labels, [0, 0])
    assert table.matched_by.tolist() == ["position"] * 3 + ["assignment"] * 3
    assert (table.psnr > 60).tolist() == [False, False, True, True, True, True]
    assert table.attacked_label.tolist() == table.label.tolist()
    shown = read_image_pairs([str(made / "found.safetensors")], [str(made / "truth.safetensors")], 6)
    assert shown.psnr == table.psnr.tolist()


def attack_into(folder: Path, attack: AnyAttack, network: Network | None = None) -> dict[str, Tensor]:
    """What the attack on the clients of this folder writes."""
    if network:
        about = untrained(network, "cifar10", seed=0)
        save_victim(folder / "victim.safetensors", about, about.build())
        (folder / "victim.json").unlink()
    share_into(folder, share_step())
    names = ("victim", "shared", "found")
    files = [folder / f"{name}.safetensors" for name in names]
    attack_shard(AttackStep(attack=attack, seed_key="k"), *files, None, CPU)
    return read_tensors(folder / "found.safetensors")[0]


def test_trajectories_are_written_if_there_are_any(made: Path) -> None:
    settings = Attack(iterations=4, restarts=2)
    plain, watched = (attack_into(made, each) for each in (settings, settings.with_(snapshots=3)))
    trajectory = {"trajectory", "trajectory_cost", "trajectory_iteration"}
    assert set(watched) - set(plain) == trajectory
    assert watched["trajectory_iteration"].tolist() == [0, 2, 4]
    assert watched["trajectory"].shape == (2, 2, 3, 1, 3, 32, 32)
    assert watched["trajectory"].dtype == torch.float16
    for name, tensor in plain.items():
        assert torch.equal(tensor, watched[name])
    files = [str(made / "found.safetensors")], [str(made / "truth.safetensors")]
    last = read_trajectories(*files).query("iteration == 4").set_index(["image", "restart"])
    table = rows("cell", 0, Path(files[0][0]), Path(files[1][0]))
    for row in table.itertuples():
        ended = last.loc[(row.image, row.selected_restart)]
        assert ended.psnr == pytest.approx(row.psnr, abs=0.01)
        assert ended.matching_cost == pytest.approx(row.matching_cost)


def test_an_analytic_attack_is_measured_like_any_other(made: Path) -> None:
    found = attack_into(made, Analytic(), MLP(widths=(16,)))
    assert not {name for name in found if name.startswith("trajectory")}
    table = rows("cell", 0, made / "found.safetensors", made / "truth.safetensors")
    assert table.status.tolist() == ["ok", "ok"]
    assert (table.psnr > 80).all()
    assert table.matching_cost.isna().all()
    assert table.matched_by.tolist() == ["position"] * 2
    assert (
        table[["restarts", "selected_restart", "iterations", "attacked_label"]].to_numpy().tolist()
        == [[1, 0, 0, -1]] * 2
    )


def test_rows_of_judged_cells_have_more_columns_than_others(tmp_path: Path) -> None:
    tables = [tmp_path / name for name in ("plain/seed0.csv", "judged/seed0.csv", "judged/seed1.csv")]
    for path, text in zip(tables, ("psnr\n1\n", "psnr,recovery\n2,partly\n", "psnr\n3\n"), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    together = every_row(tables[:2])
    assert list(together) == ["psnr", "recovery"]
    assert together["recovery"].isna().tolist() == [True, False]
    with pytest.raises(SettingsError, match=r"seed1\.csv: columns"):
        every_row(tables)


def test_rows_say_what_was_recovered_if_they_are_asked(made: Path) -> None:
    attack_into(made, Analytic(), MLP(widths=(16,)))
    found, truth, others = (made / f"{name}.safetensors" for name in ("found", "truth", "cifar10"))
    out = made / "rows.csv"
    measure("cell", 4, [found], [truth], out)
    before = list(pd.read_csv(out))
    assert read_record(out)["settings"] == {"cell": "cell", "seed": 4}
    measure("cell", 4, [found], [truth], out, others=others, judged_among=15)
    table = pd.read_csv(out)
    assert set(table) - set(before) == {"recovery", "correlation", "nearest_other"}
    assert table["recovery"].tolist() == ["recovered", "recovered"]
    assert read_record(out)["settings"] == {"cell": "cell", "seed": 4, "judged_among": 15}


def test_an_analytic_attack_needs_a_network_that_it_can_invert(made: Path) -> None:
    with pytest.raises(SettingsError, match="not a Conv2d"):
        attack_into(made, Analytic())
    assert not (made / "found.safetensors").exists()


def test_an_attack_without_a_kind_is_one_by_optimisation() -> None:
    attack = parse(AttackStep, {"attack": {"iterations": 7}, "seed_key": "k"}, "here").attack
    assert attack == Attack(iterations=7)
    with pytest.raises(SettingsError, match="here: attack: unknown kind 'analitic'; nearest: 'analytic'"):
        parse(AttackStep, {"attack": {"kind": "analitic"}, "seed_key": "k"}, "here")


def test_swapped_rows_give_the_gradient_of_a_network_whose_rows_are_swapped(made: Path) -> None:
    share_into(made, share_step(swapped_rows=True, last=3))
    shared, truth = (read_tensors(made / f"{name}.safetensors")[0] for name in ("shared", "truth"))
    assert truth["labels"].flatten().tolist() == [3, 8, 8]
    assert shared["labels"].flatten().tolist() == [2, 9, 9], "what the server works with"

    network, about = load_victim(made / "victim.safetensors", CPU)
    *_, weight, bias = network.parameters()
    order = torch.tensor([1, 0, 3, 2, 5, 4, 7, 6, 9, 8])
    with torch.no_grad():
        weight.copy_(weight[order])
        bias.copy_(bias[order])
    image = normalise(truth["images"][0], about.mean, about.std, torch.float32, CPU)
    loss = torch.nn.functional.cross_entropy(network(image), truth["labels"][0])
    *others, of_weight, of_bias = torch.autograd.grad(loss, list(network.parameters()))
    expected = [*others, of_weight[order], of_bias[order]]
    for (name, _), gradient in zip(network.named_parameters(), expected, strict=True):
        torch.testing.assert_close(shared[f"shared.{name}"][0], gradient)
    norm = sum(gradient.double().square().sum() for gradient in expected) ** 0.5
    assert truth["shared_norm"][0].item() == pytest.approx(norm.item(), rel=1e-6)


def test_the_last_of_an_odd_number_of_classes_keeps_its_row() -> None:
    assert swapped(torch.tensor([0, 1, 2, 3, 4]), classes=5).tolist() == [1, 0, 3, 2, 4]
