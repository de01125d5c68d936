"""Threads that wait take no core from those that compute."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from invgrad.runtime.threads import GRAIN, soon_asleep

ON_ONE_CORE = """
import os, sys, time, torch
from contextlib import nullcontext
from invgrad.runtime.threads import soon_asleep

numbers = torch.ones(torch.get_num_threads() * 2**15).add_(1)
with soon_asleep() if sys.argv[1] == "asleep" else nullcontext():
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {min(os.sched_getaffinity(0))})
    before = time.process_time()
    for _ in range(50):
        numbers.add_(1)
    print(time.process_time() - before)
"""


def seconds_of_cpu(how: str) -> float:
    """Of fifty short operations whose threads have to share one core, as beside another process."""
    command = [sys.executable, "-c", ON_ONE_CORE, how]
    variables = os.environ | {"OMP_NUM_THREADS": str(max(2, os.cpu_count() or 1))}
    variables.pop("OMP_WAIT_POLICY", None)
    return float(subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout)


def test_threads_that_share_a_core_do_not_spin() -> None:
    assert seconds_of_cpu("asleep") < 0.1


@pytest.mark.skipif(os.cpu_count() == 1, reason="with one core threads never spin for long")
def test_otherwise_they_spin() -> None:
    assert seconds_of_cpu("awake") > 0.2


def test_no_more_threads_are_kept_than_the_usable_cores_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of two cores of a node of many that a scheduler gives to a job."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5, 6})
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    before = threading.active_count()
    with soon_asleep():
        assert threading.active_count() == before + 1


@soon_asleep()
def computed(active_before: int) -> None:
    """Work whose waiting threads sleep; fails after it."""
    assert (threading.active_count() > active_before) == (torch.get_num_threads() > 1)
    numbers = torch.arange(4 * GRAIN)
    assert numbers.sum() == 4 * GRAIN * (4 * GRAIN - 1) / 2
    raise ZeroDivisionError


@pytest.mark.parametrize("count", [1, 2])
def test_idle_threads_end_with_the_work_also_by_an_error(count: int) -> None:
    """A single thread waits for none."""
    before = threading.active_count()
    torch.set_num_threads(count)
    try:
        with pytest.raises(ZeroDivisionError):
            computed(before)
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(1)
    assert threading.active_count() == before
