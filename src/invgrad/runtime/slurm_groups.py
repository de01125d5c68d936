"""Mend of Snakemake's SLURM plugin, which starts a Snakemake anew for each job of a group."""

from contextlib import suppress
from typing import Any

JOBSTEP = "--executor slurm-jobstep --jobs 1"
"""Options of the plugin for the Snakemake in a SLURM job, which calls `srun` and one more Snakemake for each job."""


def run_groups_in_one_snakemake() -> None:
    """Let the Snakemake within the SLURM job of a group run the group's jobs itself, one after another.

    That starts the next job half a second after the last, in place of ten, as a fork of the warm process, which the
    Snakefile's `onstart` starts: a group's Snakemake has its hooks. A release that says otherwise what a SLURM
    job runs is left as it is. This module can go once the plugin keeps a group together within its SLURM job.
    """
    with suppress(ImportError, AttributeError):
        from snakemake_executor_plugin_slurm import Executor

        Executor.format_job_exec = _by_itself(Executor.format_job_exec)


def _by_itself(format_job: Any) -> Any:
    def format_job_or_group(executor: Any, job: Any) -> str:
        command: str = format_job(executor, job)
        if not job.is_group() or JOBSTEP not in command:
            return command
        command = command.replace(JOBSTEP, f"--executor local --cores {job.threads}").replace("--no-hooks ", "")
        # The time limit's SIGTERM would end the shell, and SLURM then kill what still writes its state.
        return f"trap : TERM; {command}"

    return format_job_or_group
