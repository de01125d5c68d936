"""Outages of a cluster, of a minute each and at a random moment: the run goes on when they end."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import projects
import pytest
from projects import ROOT, done, mini, run
from test_faults import assert_undisturbed, mounted, started
from test_slurm import ON_CLUSTER, _cluster, running, until  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.night, pytest.mark.slow, pytest.mark.cluster]
REFUSAL = "error: Unable to contact slurm controller (connect failure)"


def breakable(down: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What breaks this daemon of the cluster's, or this command, and what mends it."""
    daemon = Path(os.environ["SLURM_CONF"]).with_name(f"{down}.pid")
    if daemon.exists():
        return lambda: os.kill(int(daemon.read_text()), signal.SIGTERM), lambda: done(run(ROOT, f"/usr/sbin/{down}"))
    switch, wrapper = folder / "down", folder / down
    folder.mkdir()
    real = f'exec {shutil.which(down)} "$@"'
    wrapper.write_text(f'#!/bin/sh\nif [ -e {switch} ]; then echo "{REFUSAL}" >&2; exit 1; fi\n{real}\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return switch.touch, switch.unlink


def survive_an_outage(down: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    """A little more than a minute without this daemon or command: the run neither hangs nor is out of retries."""
    scale = mini("lenet-untrained-proposed", shards=2)
    folder = projects.project(tmp_path / "project", "mini", scale, artefacts=["table1"])
    break_it, mend_it = breakable(down, tmp_path / "bin", monkeypatch)
    one_by_one = ("--jobs", "1", "--group-components", "short=1", "shares=1")
    night = started(folder, *ON_CLUSTER, *one_by_one, *options, "--", "all")
    until(lambda: running(folder), "a job")
    moment = random.uniform(0, 40)
    time.sleep(moment)
    break_it()
    time.sleep(65)
    mend_it()
    try:
        said, _ = night.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        os.killpg(night.pid, signal.SIGKILL)
        said, _ = night.communicate()
    assert night.returncode == 0, f"{moment:.1f} s after the first job:\n{said}"
    assert "works again" in said, f"{moment:.1f} s after the first job:\n{said}"
    assert_undisturbed(folder, tmp_path)


@pytest.mark.parametrize("down", ["squeue", "sbatch", "slurmctld"])
@pytest.mark.usefixtures("_cluster")
def test_an_outage_of_a_minute_loses_nothing(down: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    survive_an_outage(down, tmp_path, monkeypatch)


@pytest.mark.usefixtures("_cluster")
def test_a_full_quota_is_said_and_nothing_half_is_kept(tmp_path: Path) -> None:
    """With room for what is shared, and not for all reconstructions; then with more."""
    scale = mini("lenet-untrained-proposed", shards=3)
    folder = projects.project(tmp_path / "project", "mini", scale, artefacts=["table1"])
    night = (*ON_CLUSTER, "--retries", "0", "--", "metrics")
    (folder / "results").mkdir()
    with mounted(folder / "results", "-t", "tmpfs", "-o", "size=424k", "tmpfs"):
        full = run(folder, *night)
        assert full.returncode == 1
        assert "No space left on device" in full.stdout + full.stderr
        assert not list(folder.glob("results/mini/*/**/.*"))
        done(run(folder, "mount", "-o", "remount,size=20m", str(folder / "results")))
        done(run(folder, *night))
        assert_undisturbed(folder, tmp_path)
