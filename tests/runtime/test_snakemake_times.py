"""Times of inputs fail no job."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import snakemake.api  # first of all: `snakemake.dag` alone imports itself

from invgrad.runtime.snakemake_times import ignore_times_after_jobs

WORKFLOW = """
from invgrad.runtime.snakemake_times import ignore_times_after_jobs
ignore_times_after_jobs()
rule all:
    input: ancient("input")
    output: "output"
    shell: "touch {output}"
"""


def test_an_input_of_the_future(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    (tmp_path / "input").touch()
    tomorrow = time.time() + 86400
    os.utime(tmp_path / "input", (tomorrow, tomorrow))
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_another_release_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(snakemake.dag.DAG, "check_output_mtime")
    ignore_times_after_jobs()
    assert not hasattr(snakemake.dag.DAG, "check_output_mtime")
    monkeypatch.setitem(sys.modules, "snakemake.dag", None)
    ignore_times_after_jobs()
