"""Snakemake keeps one timer, however many jobs have ended."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler

from invgrad.runtime.snakemake_timers import keep_one_timer

WORKFLOW = """
import threading
from invgrad.runtime.snakemake_timers import keep_one_timer
keep_one_timer()
rule all:
    input: [f"{i}" for i in range(60)]
rule each:
    output: "{i}"
    shell: "sleep 0.01; touch {output}"
onsuccess:
    print("timers", sum(isinstance(each, threading.Timer) for each in threading.enumerate()))
"""


def waiting() -> int:
    return sum(isinstance(each, threading.Timer) for each in threading.enumerate())


def test_one_timer_waits_and_the_next_starts_when_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobScheduler, "_schedule_reevalutation", JobScheduler._schedule_reevalutation)
    keep_one_timer()
    scheduler, before = JobScheduler.__new__(JobScheduler), waiting()
    scheduler._open_jobs = threading.Semaphore(0)
    for _ in range(2):
        for _ in range(20):
            scheduler._schedule_reevalutation(0.05)
        assert waiting() - before == 1
        assert scheduler._open_jobs.acquire(timeout=10)
        assert not scheduler._open_jobs.acquire(blocking=False)


def test_timers_do_not_grow_with_the_jobs_that_have_ended(tmp_path: Path) -> None:
    """At the end of these jobs some forty wait otherwise."""
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    command = [sys.executable, "-m", "snakemake", "--cores", "2"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.split("timers ")[1].split()[0] in ("0", "1")


def test_another_release_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(JobScheduler, "_schedule_reevalutation")
    keep_one_timer()
    assert not hasattr(JobScheduler, "_schedule_reevalutation")
    monkeypatch.setitem(sys.modules, "snakemake.scheduling.job_scheduler", None)
    keep_one_timer()
