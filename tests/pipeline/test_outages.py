"""Outages of a cluster, of a minute each and at a random moment: the run goes on when they end."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import projects
import pytest
from projects import ROOT, done, mini, run
from test_faults import assert_undisturbed, started
from test_slurm import ON_CLUSTER, _cluster, jobs, running, until  # noqa: F401

pytestmark = [pytest.mark.night, pytest.mark.slow, pytest.mark.cluster]
ONE_BY_ONE = (*ON_CLUSTER, "--jobs", "1", "--group-components", "short=1", "shares=1", "--", "all")
"""A job runs, or is submitted, at nearly each moment."""


@pytest.fixture
def switch(_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A folder: squeue fails at once while there is a file of this name in it, and so does sbatch."""
    folder = tmp_path / "down"
    (folder / "bin").mkdir(parents=True)
    refusal = 'echo "error: Unable to contact slurm controller (connect failure)" >&2; exit 1'
    for command in ("squeue", "sbatch"):
        wrapper = folder / "bin" / command
        real = f'exec {shutil.which(command)} "$@"'
        wrapper.write_text(f"#!/bin/sh\nif [ -e {folder / command} ]; then {refusal}; fi\n{real}\n")
        wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return folder


def outage(down: str, switch: Path) -> None:
    """A little more than a minute without it."""
    controller = Path(os.environ["SLURM_CONF"]).with_name("slurmctld.pid")
    if down == "slurmctld":
        os.kill(int(controller.read_text()), signal.SIGTERM)
    else:
        (switch / down).touch()
    time.sleep(65)
    if down == "slurmctld":
        done(run(ROOT, "/usr/sbin/slurmctld"))
    else:
        (switch / down).unlink()


@pytest.mark.parametrize("down", ["squeue", "sbatch", "slurmctld"])
def test_an_outage_of_a_minute_loses_nothing(down: str, tmp_path: Path, switch: Path) -> None:
    """The run neither hangs nor is out of retries, and says what it waits for."""
    scale = mini("lenet-untrained-proposed", shards=2)
    folder = projects.project(tmp_path / "project", "mini", scale, artefacts=["table1"])
    night = started(folder, *ONE_BY_ONE)
    until(lambda: running(folder), "a job")
    moment = random.uniform(0, 40)
    time.sleep(moment)
    outage(down, switch)
    try:
        said, _ = night.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(night.pid, signal.SIGKILL)
        said, _ = night.communicate()
    assert night.returncode == 0, f"{moment:.1f} s after the first job:\n{said}"
    assert "works again" in said, f"{moment:.1f} s after the first job:\n{said}"
    assert {job["JobState"] for job in jobs().values() if job["WorkDir"] == str(folder)} == {"COMPLETED"}
    assert_undisturbed(folder, tmp_path)
