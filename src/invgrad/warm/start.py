"""Start of the warm process for a run of Snakemake."""

import atexit
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from invgrad.warm.client import VARIABLE

FEW = 4
"""Jobs that take less time to start one by one than the warm process takes."""


def start_for(workflow: Any) -> None:
    """Start the warm process for the jobs that Snakemake is about to run, if it runs more than a few on this machine.

    On a cluster only within a job that is a group, which all have what that was given: there each start counts, since
    a GPU waits for it. Not where the user has set `INVGRAD_WARM`.
    """
    here = sys.platform == "linux" and workflow.local_exec and not workflow.touch
    few = FEW if workflow.is_main_process else 1
    if here and len(workflow.dag) > few and VARIABLE not in os.environ:
        from snakemake.shell import shell

        variables = shell("env -0", read=True).split("\0")  # as a job has them
        try:
            process, path = start(dict(each.split("=", 1) for each in variables if each))
        except OSError as error:  # a full disk, or a temporary folder whose name is too long for a socket's
            print(f"jobs start one by one, since there is no warm process: {error}", file=sys.stderr)
            return
        atexit.register(process.communicate)  # closes the pipe by which it knows that Snakemake runs, and waits
        os.environ[VARIABLE] = str(path)


def start(environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a warm process that lives as long as its standard input is open; it comes with its socket.

    Raises `OSError` where that is not possible.
    """
    folder = Path(mkdtemp(prefix="invgrad-"))
    path = folder / "socket"
    with ExitStack() as failing, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        failing.callback(rmtree, folder)
        listener.bind(str(path))
        listener.listen(128)  # clients wait from now on
        descriptor = listener.fileno()
        process = subprocess.Popen(
            ["python", "-m", "invgrad.warm.server", str(descriptor), str(folder)],
            env={**environment, VARIABLE: str(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[descriptor],
            start_new_session=True,  # Ctrl-C is the clients' to pass on
        )
        failing.pop_all()  # the warm process removes it
    return process, path
