"""Faults injected on purpose: each ends in a clear message, and nothing is lost or built upon."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import projects
import pytest
import torch
from examples import share_step
from projects import choose, define, done, environment, invgrad, mini, packaged, planned, recorded, rules_in, run

from invgrad.attack.settings import LBFGS, Attack, AttackStep
from invgrad.data import sources
from invgrad.data.splits import save_split
from invgrad.experiments.config import CONFIG, load
from invgrad.experiments.plan import Plan
from invgrad.networks.settings import LeNetZhu, TrainStep
from invgrad.objective.settings import SquaredEuclidean
from invgrad.results.files import read_tensors, sha256, write_json, write_tensors
from invgrad.results.provenance import read_record, record_path
from invgrad.settings import read_yaml
from invgrad.steps.attack import attack_shard
from invgrad.steps.measure import rows
from invgrad.steps.share import share_shard
from invgrad.steps.train import train_victim

CPU = torch.device("cpu")
MEASURED = ("snakemake", "--cores", "2", "metrics")
UNFINISHED = "results/mini/unfinished/reconstructions/*/*.safetensors"
SLOWER = mini("lenet-untrained-proposed", shards=2, iterations=500)
"""Two attacks of a second or two."""


def project(folder: Path, scale: dict[str, Any]) -> Path:
    often = {"seconds": 60, "iterations": 20}
    return projects.project(folder, "mini", scale, artefacts=["table1"], checkpoint=often)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose first run was stopped by Ctrl-C in the middle of an attack, and a second beside it refused."""
    folder = project(tmp_path_factory.mktemp("finished"), SLOWER)
    first = started(folder, *MEASURED)
    wait_for(folder, ".snakemake/locks/*")
    second = run(folder, *MEASURED)
    assert second.returncode != 0
    assert "Directory cannot be locked" in second.stdout + second.stderr
    wait_for(folder, UNFINISHED)
    os.killpg(first.pid, signal.SIGINT)
    said, _ = first.communicate()
    assert first.returncode != 0
    assert "stopped by SIGINT" in said
    return folder


@pytest.fixture(scope="module")
def finished(interrupted: Path) -> Path:
    """The project after another run."""
    assert list(interrupted.glob(UNFINISHED))
    done(run(interrupted, *MEASURED))
    return interrupted


def results(folder: Path) -> dict[str, bytes]:
    """What networks, clients and attacks came to; tables and records hold times."""
    root = folder / "results/mini"
    parts = ("victims", "shared", "truth", "reconstructions")
    return {
        str(path.relative_to(root)): path.read_bytes()
        for part in parts
        for path in root.glob(f"{part}/*/*.safetensors")
    }


def started(folder: Path, *command: str) -> subprocess.Popen[str]:
    """A command as from a terminal, at work."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment(), start_new_session=True, **pipes)


def wait_for(folder: Path, pattern: str) -> None:
    """Until there is such a file."""
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, pattern
        time.sleep(0.05)


def assert_undisturbed(folder: Path, elsewhere: Path) -> None:
    """Every reconstruction is, to the last bit, what its command comes to if nothing stops it."""
    for record in folder.glob("results/mini/reconstructions/*/*.json"):
        words, again = json.loads(record.read_text())["command"][1:], elsewhere / f"{record.stem}.safetensors"
        words[words.index("--out") + 1] = str(again)
        for option in ("--checkpoint", "--log"):
            place = words.index(option)
            del words[place : place + 2]
        with chdir(folder), pytest.raises(SystemExit) as end:
            invgrad(*words)
        assert not end.value.code
        assert again.read_bytes() == record.with_suffix(".safetensors").read_bytes()


def flip(path: Path) -> None:
    """Change the last bit of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def errors_of(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("error:")]


@contextmanager
def mounted(folder: Path, *how: str) -> Iterator[None]:
    """A file system of its own at this folder; skips the test where that is not allowed."""
    mount = run(folder, "mount", *how, str(folder))
    if mount.returncode:
        pytest.skip(f"mounting is not allowed here: {mount.stderr.strip()}")
    try:
        yield
    finally:
        done(run(folder.parent, "umount", "--lazy", str(folder)))


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path) -> None:
    folder, begin = project(tmp_path, mini("lenet-untrained-proposed")), ("snakemake", "--cores", "2", "datasets")
    disk = folder / "results"
    disk.mkdir()
    with mounted(disk, "-t", "tmpfs", "-o", "size=40k", "tmpfs"):
        result = run(folder, *begin)
        assert result.returncode != 0
        errors = errors_of(result)
        assert errors
        assert all("No space left on device" in line for line in errors)
        assert not list(disk.rglob(".*.safetensors")), "no halves"
        for path in disk.rglob("*.safetensors"):
            read_tensors(path)  # whole, if it is there
        done(run(disk, "mount", "-o", "remount,size=100m", str(disk)))
        done(run(folder, *begin))
        assert "Nothing to be done" in done(run(folder, *begin))


@pytest.mark.slow
def test_a_disk_that_is_full_when_a_run_begins(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    choose(folder, override={"cells": {"lenet-*": {"attack": {"total_variation": 10.0}}}})
    disk = folder / ".snakemake"
    with mounted(disk, "-t", "tmpfs", "-o", "size=4k", "tmpfs"):
        (disk / "full").write_bytes(bytes(4096))
        result = run(folder, *MEASURED)
        assert result.returncode != 0
        assert errors_of(result) == ["error: [Errno 28] No space left on device"]


@pytest.mark.slow
def test_a_folder_that_can_only_be_read(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    (folder / "results/mini/metrics/rows/lenet-untrained-proposed/seed0.csv").unlink()
    before = results(folder)
    disk = folder / "results"
    with mounted(disk, "--bind", str(disk)):
        done(run(disk, "mount", "-o", "remount,ro,bind", str(disk)))
        result = run(folder, *MEASURED)
        assert result.returncode != 0
        assert re.search("Write-protected|Read-only file system", result.stdout + result.stderr)
    assert results(folder) == before


@pytest.mark.slow
def test_damaged_files_are_seen_and_made_anew(finished: Path, tmp_path: Path) -> None:
    """Cut off, or with one bit changed: data, a checkpoint, a shard of shared gradients, what was found in it, rows."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    before, root = results(folder), folder / "results/mini"
    cut = ["data/cifar10-validation.safetensors", "shared/lenet-untrained/seed0-shard0.safetensors"]
    tampered = ["victims/lenet-untrained/seed0.safetensors", "metrics/rows/lenet-untrained-proposed/seed0.csv"]
    tampered += [f"reconstructions/lenet-untrained-proposed/seed0-shard{shard}.safetensors" for shard in (0, 1)]
    for name in cut:
        (root / name).write_bytes((root / name).read_bytes()[:-100])
    for name in tampered:
        flip(root / name)
    there = results(folder)
    said = done(run(folder, *MEASURED, "--dry-run"))
    assert said.count("a run moves it aside") == len(cut + tampered)
    assert results(folder) == there
    said = done(run(folder, *MEASURED))
    for name in cut + tampered:
        assert f"{name}: damaged: its sha256 is" in said
    assert results(folder) == before
    assert len(list((root / "damaged").iterdir())) == len(cut + tampered)
    assert "Nothing to be done" in done(run(folder, *MEASURED))


@pytest.mark.slow
def test_results_speak_for_themselves(finished: Path, tmp_path: Path) -> None:
    """Neither times nor Snakemake's bookkeeping are needed to know them, and neither can hide what they are of."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    shutil.rmtree(folder / ".snakemake")
    paths = sorted((folder / "results").rglob("*.*"))
    for number, path in enumerate(paths):
        os.utime(path, (10**9 - number, 10**9 - number))
    assert "Nothing to be done" in done(run(folder, *MEASURED))

    choose(folder, override={"cells": {"lenet-*": {"attack": {"total_variation": 10.0}}}})
    assert planned(folder, target="metrics") == {"attack_short", "measure"}
    choose(folder, override={})
    assert planned(folder, target="metrics") == set()
    entry = packaged("cifar10")
    entry["statistics"]["mean"][0] = 0.5
    os.utime(define(folder, cifar10=entry), (0, 0))
    everything = {"data", "victim-lenet-untrained", "share", "attack_short", "measure"}
    assert planned(folder, target="metrics") >= everything
    for name in ("reconstructions", "metrics/rows"):
        shutil.rmtree(folder / "results/mini" / name)
    assert planned(folder, target="metrics") >= everything, "what is not there is made from what is made anew"


@pytest.mark.slow
def test_results_of_elsewhere_are_taken_if_they_are_of_the_plan(finished: Path, tmp_path: Path) -> None:
    """A colleague's of other settings are made anew, with a line that says so, and all that was made from them."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    choose(folder, override={"cells": {"lenet-*": {"attack": {"total_variation": 10.0}}}})
    cell = "lenet-untrained-proposed"
    with chdir(folder):
        plan = Plan(load(read_yaml(CONFIG)))
        for path in plan.reconstructions(cell):
            flip(path)
        for path in (*plan.reconstructions(cell), *plan.rows(cell)):
            recorded(plan, path)
    shutil.rmtree(folder / ".snakemake")
    assert planned(folder, target="metrics") == set(), "of these settings"
    choose(folder, override={})
    said = done(run(folder, *MEASURED, "--dry-run", "--quiet", "rules"))
    assert rules_in(said, "metrics") == {"attack_short", "measure"}
    assert re.search(r"seed0-shard0\.safetensors and 1 more: it was made with other settings: attack\.", said)
    for name in (f"reconstructions/{cell}", f"metrics/rows/{cell}"):
        shutil.copytree(finished / "results/mini" / name, folder / "results/mini" / name, dirs_exist_ok=True)
    assert planned(folder, target="metrics") == set(), "the backup is put back"


@pytest.mark.slow
def test_a_data_file_with_a_wrong_checksum(tmp_path: Path) -> None:
    folder = project(tmp_path, SLOWER)
    entry = packaged("cifar10")
    files = entry["sources"]["packaged"]["packages"][0]["files"]
    files["cifar10_07_6.png"] = "0000" + files["cifar10_07_6.png"][4:]
    define(folder, cifar10=entry)
    result = run(folder, "snakemake", "--cores", "2", "datasets")
    assert result.returncode != 0
    errors = errors_of(result)
    assert len(set(errors)) == 1
    assert re.search(r"cifar10_07_6\.png: sha256 is [0-9a-f]{64}, not 0000[0-9a-f]{60}", errors[0])
    assert not list(folder.glob("results/mini/data/cifar10-*.safetensors"))


@pytest.mark.slow
def test_ctrl_c_in_the_middle(finished: Path, tmp_path: Path) -> None:
    """What was done is kept, nothing stays locked, and the next run ends as if nothing had been. (For a run that is
    killed, see the night on a cluster.)
    """
    assert_undisturbed(finished, tmp_path)
    records = finished.glob("results/mini/reconstructions/*/*.json")
    assert 1 in {json.loads(record.read_text())["resumed"] for record in records}
    assert not list(finished.glob("results/mini/unfinished/*/*/*.safetensors"))


@pytest.mark.parametrize(
    "attack",
    [
        Attack(iterations=20, restarts=2),
        Attack(iterations=3, optimiser=LBFGS(), distance=SquaredEuclidean(), box=False),
    ],
    ids=["adam", "l-bfgs"],
)
def test_a_trial_that_is_not_a_number_fails_alone(
    attack: Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that shares a value that is not a number has a row that says that it failed; all others are the same,
    bit for bit.
    """
    monkeypatch.chdir(projects.ROOT)
    data, victim, shared, truth = (tmp_path / f"{name}.safetensors" for name in ("data", "victim", "shared", "truth"))
    save_split(sources.load("cifar10", "validation", "packaged", None), data)
    train_victim(TrainStep(network=LeNetZhu(), dataset="cifar10", training=None, seed=0), None, None, victim, None, CPU)
    share_shard(share_step(last=3), victim, data, shared, truth, CPU)

    def attacked(name: str) -> Path:
        attack_shard(AttackStep(attack=attack, seed_key="k"), victim, shared, tmp_path / name, None, CPU)
        return tmp_path / name

    whole = attacked("whole.safetensors")
    tensors, about = read_tensors(shared)
    first = next(name for name in tensors if name.startswith("shared."))
    tensors[first][1].view(-1)[5] = torch.nan
    write_tensors(shared, tensors, about)
    write_json(record_path(shared), read_record(shared) | {"sha256": sha256(shared)})
    one_bad = attacked("bad.safetensors")
    good, bad = read_tensors(whole)[0], read_tensors(one_bad)[0]
    for client in (0, 2):
        assert all(torch.equal(good[name][client], bad[name][client]) for name in good if len(good[name]) == 3)
    expected, table = (rows("cell", 0, path, truth) for path in (whole, one_bad))
    assert table.status.tolist() == ["ok", "failed", "ok"]
    assert table.psnr.isna().tolist() == [False, True, False]
    assert table.psnr[[0, 2]].tolist() == expected.psnr[[0, 2]].tolist()
