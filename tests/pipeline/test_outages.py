"""A cluster with accounting: a night on it, and outages of a minute each at a random moment."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import projects
import pytest
from projects import ROOT, done, mini, run
from test_faults import assert_undisturbed, started
from test_slurm import ON_CLUSTER, cluster, running, survive_a_night, until

pytestmark = [pytest.mark.night, pytest.mark.slow, pytest.mark.cluster]
COMMANDS = ("squeue", "sacct", "sbatch")
BY_SACCT = ("--slurm-status-command", "sacct")


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with cluster(tmp_path_factory.mktemp("cluster"), "accounting"):
        yield


@pytest.fixture
def switches(_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder: each of the commands fails at once while there is a file of its name in it."""
    folder = tmp_path / "down"
    (folder / "bin").mkdir(parents=True)
    refusal = 'echo "error: Unable to contact slurm controller (connect failure)" >&2; exit 1'
    for command in COMMANDS:
        wrapper, real = folder / "bin" / command, f'exec {shutil.which(command)} "$@"'
        wrapper.write_text(f"#!/bin/sh\nif [ -e {folder / command} ]; then {refusal}; fi\n{real}\n")
        wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return folder


def outage(down: str, switches: Path) -> None:
    """A little more than a minute without this command, or this daemon."""
    if down in COMMANDS:
        (switches / down).touch()
    else:
        os.kill(int(Path(os.environ["SLURM_CONF"]).with_name(f"{down}.pid").read_text()), signal.SIGTERM)
    time.sleep(65)
    if down in COMMANDS:
        (switches / down).unlink()
    else:
        done(run(ROOT, f"/usr/sbin/{down}"))


@pytest.mark.parametrize(
    ("down", "options"),
    [
        ("squeue", ()),
        ("sbatch", ()),
        ("slurmctld", ()),
        ("sacct", BY_SACCT),
        ("slurmdbd", BY_SACCT),
    ],
)
def test_an_outage_of_a_minute_loses_nothing(
    down: str, options: tuple[str, ...], tmp_path: Path, switches: Path
) -> None:
    """The run neither hangs nor is out of retries, and says what it waits for."""
    scale = mini("lenet-untrained-proposed", shards=2)
    folder = projects.project(tmp_path / "project", "mini", scale, artefacts=["table1"])
    one_by_one = ("--jobs", "1", "--group-components", "short=1", "shares=1")
    night = started(folder, *ON_CLUSTER, *one_by_one, *options, "--", "all")
    until(lambda: running(folder), "a job")
    moment = random.uniform(0, 40)
    time.sleep(moment)
    outage(down, switches)
    try:
        said, _ = night.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        os.killpg(night.pid, signal.SIGKILL)
        said, _ = night.communicate()
    assert night.returncode == 0, f"{moment:.1f} s after the first job:\n{said}"
    assert "works again" in said, f"{moment:.1f} s after the first job:\n{said}"
    assert_undisturbed(folder, tmp_path)


@pytest.mark.usefixtures("_cluster")
def test_a_night_that_sacct_tells(tmp_path: Path) -> None:
    survive_a_night(tmp_path, *BY_SACCT)
