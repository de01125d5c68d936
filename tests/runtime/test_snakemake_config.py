"""A value of --config is in each job what it was on the command line, and no shell reads it."""

import json
import subprocess
import sys
from pathlib import Path

# A job with `run` has a Snakemake of its own, as each job of a cluster has.
WORKFLOW = """
import json
from pathlib import Path
from invgrad.runtime.snakemake_config import hand_on_by_file
configfile: "defaults.json"
hand_on_by_file(workflow.config_settings, Path(".snakemake"))
rule all:
    output: "config.json"
    run: Path(output[0]).write_text(json.dumps(config))
"""
HOSTILE = """$(touch bought) `touch bought` "double" 'single' {braces} {{twice}} $HOME \\ ; | & > * ? ~ # % !
another line, 'é' and\ta tab"""


def run(folder: Path, *options: str) -> dict[str, object]:
    """What the configuration is in a job."""
    (folder / "Snakefile").write_text(WORKFLOW)
    (folder / "defaults.json").write_text('{"kept": 1, "nested": {"kept": 2, "changed": 3}}')
    command = [sys.executable, "-m", "snakemake", "--jobs", "1", *options]
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    config: dict[str, object] = json.loads((folder / "config.json").read_text())
    assert not (folder / "bought").exists()
    return config


def test_values_arrive_as_they_were_written(tmp_path: Path) -> None:
    """On top of the files that the command line names."""
    (tmp_path / "more.json").write_text('{"kept": 10, "value": 11}')
    nested = json.dumps({"changed": HOSTILE, HOSTILE: [HOSTILE]})
    config = run(tmp_path, "--configfile", "more.json", "--config", "value=12", "empty=", f"nested={nested}")
    nested = {"kept": 2, "changed": HOSTILE, HOSTILE: [HOSTILE]}
    assert config == {"kept": 10, "value": 12, "empty": None, "nested": nested}


def test_without_values_nothing_is_written(tmp_path: Path) -> None:
    assert run(tmp_path)["kept"] == 1
    assert not list((tmp_path / ".snakemake").glob("config-*"))
