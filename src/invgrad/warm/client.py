"""The job's process as Snakemake starts it: hands the job to the warm process, and stands for it.

Every job imports this module first, so it imports nothing that takes time.
"""

import json
import os
import signal
import socket
import sys

VARIABLE = "INVGRAD_WARM"
"""Environment variable that names the warm process's socket."""


def hand_over() -> None:
    """Let the warm process run this process's command, and exit as that ends; return where it does not."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(path)
            request = json.dumps({"circumstances": circumstances(), "arguments": sys.argv})
            socket.send_fds(connection, [request.encode()], [0, 1, 2])
            accepted = connection.recv(1)
        except OSError:  # it has ended, or was never there
            return
        if accepted:
            _stand_for_job(connection)


def circumstances() -> dict[str, object]:
    """Circumstances that a job has from what started it; a cluster sets the limits and the control group."""
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "python": sys.executable,
        "folder": os.getcwd(),  # noqa: PTH109 (pathlib takes a while to import)
        "umask": umask,
        "environment": dict(os.environ),
        **{name: _read(f"/proc/self/{name}") for name in ("limits", "cgroup")},
    }


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


def _stand_for_job(connection: socket.socket) -> None:
    """Pass on signals to the job, and end as it ends; end with the parent too, which may be a notebook's job."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: connection.send(bytes([number])))
    parent = os.getppid()
    connection.settimeout(1)
    answer = b""
    while not answer:
        try:
            answer = connection.recv(8)
        except TimeoutError:
            if os.getppid() == parent:
                continue
        except OSError:
            pass
        if not answer:
            sys.exit("error: the warm process, or what started this job, ended before the job")
    code = int(answer)
    if code < 0:  # a signal that ended the job
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
