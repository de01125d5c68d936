"""Mend of Snakemake's comparison of times after a job, which fails for good where one lies in the future."""

from contextlib import suppress
from typing import Any


def ignore_times_after_jobs() -> None:
    """Let Snakemake take what a job made, whatever the times of its inputs are.

    In 9.27 a job fails, after it has run and whenever it runs, if an input is newer than what it made, be it `ancient`:
    one written while the clock was wrong, or copied from a machine whose clock is ahead. A release without this method
    is left as it is.
    """
    with suppress(ImportError):
        from snakemake.dag import DAG

        if hasattr(DAG, "check_output_mtime"):
            DAG.check_output_mtime = _nothing


async def _nothing(*_: Any) -> None:
    pass
