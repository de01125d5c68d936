"""Expected seconds of the jobs of a run, which the Snakefile announces when the run begins."""

from contextlib import suppress
from typing import Any

from snakemake.logging import logger

from invgrad.experiments.allocation import may_use_gpu
from invgrad.experiments.plan import Plan
from invgrad.performance.cost import BENCH, GPU_BENCH, Speed
from invgrad.performance.work import seconds_of_jobs
from invgrad.runtime.progress import duration


def announce(workflow: Any, plan: Plan) -> None:
    """Tell Snakemake's loggers how many seconds each job of a run is expected to take on one core, or one GPU."""
    with suppress(Exception):  # a network of the user's own may not let itself be counted, which is no reason to stop
        on_gpu = may_use_gpu(plan.project.config.device) or not workflow.local_exec
        speed = Speed.read(GPU_BENCH if on_gpu else BENCH)
        cores = 1 if on_gpu else speed.threads
        of_file = {str(job.output): cores * seconds for job, seconds in seconds_of_jobs(plan, speed).items()}
        seconds = {
            workflow.dag.jobid(job): sum(of_file.get(str(path), 0) for path in job.output)
            for job in workflow.dag.needrun_jobs()
        }
        at_once = workflow.resource_settings.cores or workflow.resource_settings.nodes or 1
        words = f"Expected to take about {duration(sum(seconds.values()) / at_once)}."
        logger.info(words, extra={"event": "expected", "seconds": seconds, "at_once": at_once})
