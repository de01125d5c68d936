"""The warm process: imports what jobs import, then forks itself for each job.

Started by `invgrad.warm.start`; see `invgrad.warm` for the whole.
"""

import atexit
import ctypes
import gc
import io
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module, invalidate_caches
from typing import Any, NoReturn

from invgrad.results.fingerprints import PACKAGE, fingerprint
from invgrad.results.provenance import source_version
from invgrad.warm.client import circumstances

STEPS = ("data", "train", "share", "attack", "measure", "activations", "verdict", "describe", "notebook", "report")

IMPORTED = (
    "invgrad.cli.main",
    *(f"invgrad.steps.{step}" for step in STEPS),
    *(
        "torch.func",
        "torch.fx.passes.shape_prop",
        "safetensors.torch",
        "torchvision",
        "scipy.optimize",
        "scipy.stats",
        "skimage.metrics",
    ),
    *("black", "ipykernel.ipkernel", "ipykernel.kernelapp", "IPython.core.completer"),
    *("matplotlib.pyplot", "matplotlib.backends.backend_pdf", "seaborn"),
    *("invgrad.report.artefact", "invgrad.report.charts", "invgrad.report.image_grid", "invgrad.report.tables"),
)
"""Modules that jobs and notebooks import. One that is missing here costs time, and nothing else."""

READ_LATE = {
    *("_", "PWD", "OLDPWD", "SHLVL"),  # set by every shell
    *("TMPDIR", "TMP", "TEMP", "TEMPDIR"),  # set by Snakemake for every job
    *("JUPYTER_PATH", "JPY_PARENT_PID"),  # set for a notebook's kernel
    "OMP_WAIT_POLICY",  # set by every process of invgrad, in the same way
}
"""Environment variables that may differ: no library has read them while it was imported, or it read the same."""

LONGEST_REQUEST = 2**20
"""Bytes; more than Linux takes as one message (208 KiB by default), which a shell's command fits in (128 KiB)."""

PATIENCE = 1.0
"""Seconds that a client has for its request once it is connected; the others wait meanwhile."""

PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


@dataclass
class Job:
    """Fork that runs a job."""

    pid: int
    connection: socket.socket
    """Connection to the client."""
    end: int
    """End of a pipe whose other end the job holds until it ends."""


class WarmProcess:
    """Server that forks this process for each client, one event at a time."""

    def __init__(self, listener: socket.socket, lifeline: int, own: dict[str, Any]) -> None:
        """`lifeline`: end of a pipe that Snakemake holds; `own`: the circumstances under which all was imported."""
        self._own = _decisive(own)
        self._jobs: list[Job] = []
        self._events = selectors.PollSelector()
        self._events.register(listener, selectors.EVENT_READ, partial(self._accept, listener))
        self._events.register(lifeline, selectors.EVENT_READ, partial(self._stop, lifeline, listener))

    def run(self) -> None:
        """Serve until Snakemake has ended, and then every job."""
        while self._events.get_map():
            # The last: a job's end comes before a new client, which may lack the files that it frees. The others are
            # still there in the next turn, or no longer meant.
            key, _ = self._events.select()[-1]
            key.data()

    def _stop(self, lifeline: int, listener: socket.socket) -> None:
        self._events.unregister(lifeline)
        self._events.unregister(listener)
        listener.close()
        for job in self._jobs:
            os.kill(job.pid, signal.SIGTERM)

    def _accept(self, listener: socket.socket) -> None:
        """Fork for a client that asks for it; what goes wrong with one client harms no other."""
        # A client that is stopped or killed; no memory for a fork; too many open files.
        with suppress(OSError, ValueError), listener.accept()[0] as connection, ExitStack() as received:
            connection.settimeout(PATIENCE)
            message, streams, _, _ = socket.recv_fds(connection, LONGEST_REQUEST, 3)
            connection.settimeout(None)
            for stream in streams:
                received.callback(os.close, stream)
            request = json.loads(message)
            if len(streams) == 3 and _decisive(request["circumstances"]) == self._own and not _uses_cuda():
                self._fork(request, streams, connection)

    def _fork(self, request: dict[str, Any], streams: list[int], connection: socket.socket) -> None:
        end, held = os.pipe()
        pid = os.fork()
        if not pid:
            for each in self._events.get_map().values():
                os.close(each.fd)
            os.close(end)
            _run_job(request, streams, connection)
        os.close(held)
        job = Job(pid, socket.socket(fileno=connection.detach()), end)
        self._jobs.append(job)
        self._events.register(end, selectors.EVENT_READ, partial(self._ended, job))
        self._events.register(job.connection, selectors.EVENT_READ, partial(self._signalled, job))

    def _signalled(self, job: Job) -> None:
        """Pass on a signal; a client that is gone has been killed, and so is its job."""
        number = b""
        with suppress(OSError):
            number = job.connection.recv(1)
        os.kill(job.pid, number[0] if number else signal.SIGTERM)
        if not number:
            self._events.unregister(job.connection)

    def _ended(self, job: Job) -> None:
        _, status = os.waitpid(job.pid, 0)
        with suppress(OSError):
            job.connection.send(str(os.waitstatus_to_exitcode(status)).encode())
        with suppress(KeyError):
            self._events.unregister(job.connection)
        self._events.unregister(job.end)
        self._jobs.remove(job)
        job.connection.close()
        os.close(job.end)


def _decisive(circumstances: dict[str, Any]) -> dict[str, Any]:
    """Circumstances without the variables that may differ."""
    environment = {name: value for name, value in circumstances["environment"].items() if name not in READ_LATE}
    return circumstances | {"environment": environment}


def _uses_cuda() -> bool:
    return bool(sys.modules["torch"].cuda.is_initialized())


def _run_job(request: dict[str, Any], streams: list[int], connection: socket.socket) -> NoReturn:
    """Be the client's job, in a fork, and end as an interpreter does, but for what the warm process had yet to do."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # should the warm process be killed
        connection.send(b"!")
        connection.close()
        atexit._clear()
        _take_over(request, streams)
        code = _exit_code()
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    finally:
        os._exit(code)


def _take_over(request: dict[str, Any], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    output = io.FileIO(1, "w", closefd=False)  # the old one would take it for what it was, a device to seek in
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        line_buffering=output.isatty(),
    )
    os.environ.clear()
    os.environ.update(request["circumstances"]["environment"])
    sys.argv = request["arguments"]
    tempfile.tempdir = None  # found anew in this environment
    invalidate_caches()  # for modules of the user's that are new


def _exit_code() -> int:
    """Run the command line; an exception is shown as an interpreter shows it."""
    try:
        import_module("invgrad.cli.main").main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        sys.stdout.flush()
        sys.excepthook(type(error), error, error.__traceback__)
        return 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def import_everything() -> None:
    """Import what jobs import; that neither computes nor starts a thread."""
    for name in IMPORTED:
        with suppress(Exception):  # of a package that is not installed, say; the job that needs it reports it
            import_module(name)
    gc.collect()
    gc.freeze()  # so that a job's collections leave the memory shared


def main(descriptor: str, folder: str) -> None:
    """Be the warm process: `descriptor` of the socket that listens, and its `folder`, which is removed at the end."""
    own = circumstances()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a cluster sends it to all processes of a job; the jobs end first
    try:
        import_everything()
        # Both are of the code that was imported, whatever is edited or committed while a run goes on.
        fingerprint(PACKAGE.rglob("*.py"))
        source_version()
        WarmProcess(socket.socket(fileno=int(descriptor)), sys.stdin.fileno(), own).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
