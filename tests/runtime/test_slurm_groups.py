"""A group's jobs are run by the Snakemake of their SLURM job."""

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as slurm
from snakemake_interface_executor_plugins.executors.real import RealExecutor

from invgrad.runtime.slurm_groups import JOBSTEP, run_groups_in_one_snakemake

SINGLE, GROUP = (SimpleNamespace(is_group=lambda each=each: each, threads=2) for each in (False, True))


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> Callable[[SimpleNamespace, str], str]:
    """Says what a SLURM job runs for a job, where the plugin says this."""

    def command(job: SimpleNamespace, said: str) -> str:
        monkeypatch.setattr(slurm.Executor, "format_job_exec", lambda executor, job: said)
        run_groups_in_one_snakemake()
        return str(slurm.Executor.__new__(slurm.Executor).format_job_exec(job))

    return command


def test_a_group_runs_where_it_is_and_a_single_job_through_srun(mended: Callable[[SimpleNamespace, str], str]) -> None:
    said = f"python -m snakemake --cores all --no-hooks --nolock {JOBSTEP} --mode remote"
    assert mended(SINGLE, said) == said
    by_itself = "trap : TERM; python -m snakemake --cores all --nolock --executor local --cores 2 --mode remote"
    assert mended(GROUP, said) == by_itself


def test_the_plugin_at_hand_says_what_is_replaced() -> None:
    executor = slurm.Executor.__new__(slurm.Executor)
    executor.workflow = SimpleNamespace(executor_settings=SimpleNamespace(pass_command_as_script=False))
    assert executor.additional_general_args() == JOBSTEP
    assert slurm.Executor.additional_general_args is not RealExecutor.additional_general_args


def test_another_release_is_left_as_it_is(
    mended: Callable[[SimpleNamespace, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "python -m snakemake --no-hooks --executor slurm-group"
    assert mended(GROUP, other) == other
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_slurm", None)
    run_groups_in_one_snakemake()
