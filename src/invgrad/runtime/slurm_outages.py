"""Mend of Snakemake's SLURM plugin, which loses jobs while the cluster does not answer, and cancelled ones."""

import threading
import time
from contextlib import suppress
from typing import Any

TRY_AGAIN = 30.0
"""Seconds until a failed submission is tried again."""

GIVE_UP = 3600.0
"""Seconds for which no submission succeeds, after which it is an error as without this module."""

REMIND = 600.0
"""Seconds after which an outage that lasts is said again."""


class Outage:
    """The time since which a command of the cluster fails."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._began: float | None = None
        self._said = 0.0

    def lasts(self, logger: Any, consequence: str) -> float:
        """Note that the command failed, say so now and then, and return for how many seconds it has."""
        now = time.monotonic()
        if self._began is None:
            self._began, self._said = now, now - REMIND
        if now - self._said >= REMIND:
            self._said = now
            logger.warning(f"{self._command} fails, since {now - self._began:.0f} s; {consequence}")
        return now - self._began

    def ends(self, logger: Any) -> None:
        """Note that the command succeeded."""
        if self._began is not None:
            logger.warning(f"{self._command} works again, after {time.monotonic() - self._began:.0f} s")
            self._began = None


def survive_slurm_outages() -> None:
    """Let Snakemake wait for a cluster that does not answer for a while.

    In 2.8.0 of the plugin, jobs whose state could not be asked for five times are never asked for again, and the run
    hangs, as it does on a job that sacct calls `CANCELLED by 0`. A submission that fails takes one of the job's retries
    at once, so that all are gone within a second. Another release that has no such functions is left as it is. This
    module can go once the plugin keeps its jobs
    (https://github.com/snakemake/snakemake-executor-plugin-slurm/issues/207 and 331) and submits again (313).
    """
    with suppress(ImportError, AttributeError):
        import snakemake_executor_plugin_slurm as slurm

        slurm.query_job_status = _understood(slurm.query_job_status)
        _submit_again(slurm.Executor)


def _understood(query: Any) -> Any:
    """The states of jobs in one word each, and of no job where they cannot be told.

    All are then asked for next time, as jobs just submitted are. sacct says by whom a job was cancelled, which the
    plugin takes for a state in which it still runs.
    """
    outage = Outage("asking SLURM for the states of jobs")

    async def states(command: str, logger: Any) -> tuple[dict[str, str], float]:
        told, seconds = await query(command, logger)
        if told is None:
            outage.lasts(logger, "they are asked for until it works, and run meanwhile")
            return {}, 0.0
        outage.ends(logger)
        return {job: state.partition(" ")[0] for job, state in told.items()}, seconds

    return states


def _submit_again(executor: Any) -> None:
    """Let a job whose submission failed be submitted again after a while, unless waiting cannot help.

    It waits for as long as others are submitted: a limit on a user's jobs may refuse it until some of them have ended.
    """
    report_error, report_success = executor._report_job_error_threadsafe, executor._report_job_submission_threadsafe
    outage = Outage("sbatch")

    def failed(self: Any, job: Any, msg: str) -> None:
        reason = " ".join(msg.partition("sbatch call:")[0].split())  # a cluster may greet before it says why
        refused = "invalid" in reason.lower()  # the account, the partition, the time limit
        if refused or outage.lasts(self.logger, f"tried again every {TRY_AGAIN:.0f} s: {reason}") > GIVE_UP:
            report_error(self, job, msg)
            return
        timer = threading.Timer(TRY_AGAIN, submit, [self, job.job])
        timer.daemon = True
        timer.start()

    def submit(self: Any, job: Any) -> None:
        with suppress(RuntimeError):  # of a run that has ended meanwhile
            self._job_submission_executor.submit(self.run_job, job)

    def succeeded(self: Any, job: Any) -> None:
        outage.ends(self.logger)
        report_success(self, job)

    executor._report_job_error_threadsafe, executor._report_job_submission_threadsafe = failed, succeeded
