"""Snakemake's SLURM plugin waits for a cluster that does not answer."""

import asyncio
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as slurm
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from invgrad.runtime import slurm_outages

LOGGER = logging.getLogger("test")


@pytest.fixture(autouse=True)
def _mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin, mended for one test."""
    monkeypatch.setattr(slurm, "query_job_status", slurm.query_job_status)
    for name in ("_report_job_error_threadsafe", "_report_job_submission_threadsafe"):
        monkeypatch.setattr(slurm.Executor, name, getattr(slurm.Executor, name))
    slurm_outages.survive_slurm_outages()


class Submission(slurm.Executor):  # type: ignore[misc]
    """An executor of one job, whose submission fails with each of these messages before it succeeds."""

    def __init__(self, *messages: str) -> None:
        self.logger, self.left, self.told = LOGGER, [*messages], list[str]()
        self.tries, self.settled = 0, threading.Event()
        self._main_event_loop = None
        self._job_submission_executor = ThreadPoolExecutor(2)
        self.run_job(SimpleNamespace())
        assert self.settled.wait(10)

    def run_job(self, job: SimpleNamespace) -> None:
        self.tries += 1
        if self.left:
            self._report_job_error_threadsafe(SubmittedJobInfo(job), self.left.pop(0))
        else:
            self._report_job_submission_threadsafe(SubmittedJobInfo(job, external_jobid="1"))

    def report_job_error(self, job_info: SubmittedJobInfo, msg: str) -> None:
        self.told.append(msg)
        self.settled.set()

    def report_job_submission(self, job_info: SubmittedJobInfo, register_job: bool = True) -> None:
        self.settled.set()


DOWN = "SLURM sbatch failed. The error message was 'Unable to contact slurm controller'.\n    sbatch call: ..."


def test_a_submission_that_fails_is_tried_again_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slurm_outages, "TRY_AGAIN", 0.01)
    submission = Submission(DOWN, DOWN, DOWN)
    assert (submission.tries, submission.told) == (4, [])
    first, last = [record.getMessage() for record in caplog.records]
    assert "sbatch fails" in first
    assert "Unable to contact slurm controller" in first
    assert "works again" in last


@pytest.mark.parametrize("greeting", ["", "Welcome to the cluster.\n"])
def test_it_is_an_error_where_waiting_cannot_help(greeting: str) -> None:
    said = f"SLURM sbatch failed. The error message was '{greeting}Invalid partition name specified'.\n"
    wrong = f"{said}    sbatch call:\n        ..."
    assert Submission(wrong).told == [wrong]


def test_what_the_call_names_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_outages, "TRY_AGAIN", 0.01)
    assert Submission(f"{DOWN} --job-name invalid").told == []


def test_it_is_an_error_where_waiting_has_not_helped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_outages, "TRY_AGAIN", 0.01)
    monkeypatch.setattr(slurm_outages, "GIVE_UP", 0.05)
    submission = Submission(*[DOWN] * 100)
    assert submission.tries > 2
    assert submission.told == [DOWN]


def test_states_that_cannot_be_asked_for_are_those_of_no_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """So that each job is asked for the next time; `None` would end that."""
    states, _ = asyncio.run(slurm.query_job_status(f"cat {tmp_path / 'missing'}", LOGGER))
    assert states == {}
    (tmp_path / "states").write_text("7|RUNNING\n")
    for _ in range(2):
        states, _ = asyncio.run(slurm.query_job_status(f"cat {tmp_path / 'states'}", LOGGER))
        assert states == {"7": "RUNNING"}
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["fails" in said[0], "works again" in said[1], len(said)] == [True, True, 2]


def test_a_cancelled_job_is_cancelled_whoever_did_it(tmp_path: Path) -> None:
    (tmp_path / "states").write_text("7|CANCELLED by 0\n8|COMPLETED\n")
    states, _ = asyncio.run(slurm.query_job_status(f"cat {tmp_path / 'states'}", LOGGER))
    assert states == {"7": "CANCELLED", "8": "COMPLETED"}


def test_an_outage_that_lasts_is_said_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    outage = slurm_outages.Outage("squeue")
    clock = iter([0.0, 30.0, 599.0, 601.0, 620.0])
    monkeypatch.setattr(slurm_outages, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert [outage.lasts(LOGGER, "") for _ in range(5)] == [0, 30, 599, 601, 620]
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "squeue fails, since 0 s",
        "squeue fails, since 601 s",
    ]


def test_another_release_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(slurm, "query_job_status")
    slurm_outages.survive_slurm_outages()
    assert not hasattr(slurm, "query_job_status")
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_slurm", None)
    slurm_outages.survive_slurm_outages()
