"""Mend of Snakemake's timers, which pile up in a long run."""

from contextlib import suppress
from time import monotonic
from typing import Any


def keep_one_timer() -> None:
    """Let Snakemake start a timer for its next look at the jobs only when no other is waiting.

    In 9.27 each look at jobs that are ready starts one, and so does each job that ends: their number grows with the
    jobs that have ended, and those of a run of days fill a core. A release without this method, or one that no longer
    starts several at once, is left as it is. This module can go once Snakemake counts its timers
    (https://github.com/snakemake/snakemake/pull/3744).
    """
    with suppress(ImportError, AttributeError):
        from snakemake.scheduling.job_scheduler import JobScheduler

        JobScheduler._schedule_reevalutation = _unless_waiting(JobScheduler._schedule_reevalutation)


def _unless_waiting(start: Any) -> Any:
    def start_timer(scheduler: Any, delay: float) -> None:
        now, ends = monotonic(), scheduler.__dict__.setdefault("ends_of_timers", {})
        if ends.get(delay, now) <= now:
            ends[delay] = now + delay
            start(scheduler, delay)

    return start_timer
