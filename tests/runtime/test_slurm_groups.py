"""A group's jobs are run by the Snakemake of their SLURM job."""

import sys
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as slurm
from snakemake_interface_executor_plugins.executors.real import RealExecutor

from invgrad.runtime.slurm_groups import JOBSTEP, run_groups_in_one_snakemake


def test_a_group_runs_where_it_is_and_a_single_job_through_srun(monkeypatch: pytest.MonkeyPatch) -> None:
    said = f"python -m snakemake --cores all --no-hooks --nolock {JOBSTEP} --mode remote"
    monkeypatch.setattr(slurm.Executor, "format_job_exec", lambda executor, job: said)
    run_groups_in_one_snakemake()
    single, group = (SimpleNamespace(is_group=lambda each=each: each, threads=2) for each in (False, True))
    executor = slurm.Executor.__new__(slurm.Executor)
    assert executor.format_job_exec(single) == said
    mended = "trap : TERM; python -m snakemake --cores all --nolock --executor local --cores 2 --mode remote"
    assert executor.format_job_exec(group) == mended


def test_the_plugin_at_hand_says_what_is_replaced() -> None:
    executor = slurm.Executor.__new__(slurm.Executor)
    executor.workflow = SimpleNamespace(executor_settings=SimpleNamespace(pass_command_as_script=False))
    assert executor.additional_general_args() == JOBSTEP
    assert slurm.Executor.additional_general_args is not RealExecutor.additional_general_args


def test_another_release_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_slurm", None)
    run_groups_in_one_snakemake()
