"""Snakemake in forks of one process that has imported it: importing takes as long as most of the tests' runs."""

import atexit
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

IMPORTED = (  # by Snakemake and the Snakefile
    *("snakemake.cli", "snakemake_logger_plugin_invgrad.expected", "smart_open"),
    *(f"invgrad.experiments.{name}" for name in ("allocation", "config", "expected", "plan", "summary")),
    *("invgrad.results.agreement", "invgrad.tangent.kernels.builds"),
)


def snakemake(folder: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a folder, as its command would."""
    with TemporaryDirectory() as place:
        streams = [Path(place) / name for name in ("stdout", "stderr")]
        request = {"folder": str(folder), "environment": dict(environment), "streams": [*map(str, streams)]}
        requests, codes = _forking()
        print(json.dumps(request | {"arguments": ["snakemake", *arguments]}), file=requests, flush=True)
        code = int(codes.readline())
        return subprocess.CompletedProcess(arguments, code, *(each.read_text(encoding="utf-8") for each in streams))


@cache
def _forking() -> tuple[IO[str], IO[str]]:
    """Start the process that forks, and return its streams. It is not this one, which has threads and has run tests."""
    command = [sys.executable, "-P", __file__]  # -P: this file's folder has names of packages
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.communicate)
    assert process.stdin
    assert process.stdout
    return process.stdin, process.stdout


def _be_snakemake(request: dict[str, Any]) -> None:
    for number, stream in enumerate(request["streams"], 1):
        os.dup2(os.open(stream, os.O_CREAT | os.O_WRONLY), number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    try:
        import_module("snakemake.cli").main()
    finally:
        atexit._run_exitfuncs()


if __name__ == "__main__":
    for name in IMPORTED:
        import_module(name)
    for line in sys.stdin:
        fork = multiprocessing.get_context("fork").Process(target=_be_snakemake, args=(json.loads(line),))
        fork.start()
        fork.join()
        print(fork.exitcode, flush=True)
