"""Mend of how Snakemake hands on what `--config` says to the jobs of a cluster."""

import hashlib
import json
from pathlib import Path
from typing import Any

from invgrad.results.files import write_json


def hand_on_by_file(settings: Any, folder: Path) -> None:
    """Let the jobs that Snakemake starts read the values of `--config` from a file in this folder.

    In 9.27 they are words of the job's command line, which several shells read one after another; each would take a
    quote, `$` or backtick of a value for its own. The file stays: a job that waits in a queue may outlive Snakemake.
    `settings` are those of `workflow.config_settings`.
    """
    if settings.config:
        values = dict(settings.config)
        name = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
        file = (folder / f"config-{name}.json").absolute()
        write_json(file, values)
        settings.configfiles, settings.config_args = [*settings.configfiles, file], None
