"""A job that is a fork of the warm process is what it would be otherwise: bytes, errors, exit codes, signals."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from examples import share_step
from projects import environment

from invgrad.data.sources import load
from invgrad.data.splits import save_split
from invgrad.networks.settings import LeNetZhu, TrainStep
from invgrad.steps.share import share_shard
from invgrad.steps.train import train_victim
from invgrad.warm import client, server
from invgrad.warm import start as starting
from invgrad.warm.start import start

CPU = torch.device("cpu")
NETWORKS = """
import os, sys, tempfile
from torch import nn

def lenet(classes, size):
    umask = os.umask(0o022); os.umask(umask)
    facts = {"parent": os.getppid(), "umask": umask, "folder": os.getcwd(), "name": sys.argv[0].split("/")[-1]}
    facts |= {"temporary": tempfile.gettempdir(), "stdin": sys.stdin.read()}
    print(facts, flush=True)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, classes))

def wrong(classes, size):
    print("half a line", end="")
    raise RuntimeError("this network is wrong")

def killed(classes, size):
    os.kill(os.getpid(), 9)
"""
IMPORTING = """
import os, torch
from invgrad.warm import server
asked = []
for name in ("is_available", "device_count", "_lazy_init"):
    setattr(torch.cuda, name, lambda name=name: asked.append(name))
server.import_everything()
print(len(os.listdir("/proc/self/task")), asked)
"""
NOTEBOOK = """
# %% tags=["parameters"]
number = 1

# %%
import os, matplotlib.pyplot as plt
plt.plot([number, 2])
print(number, os.environ["MPLBACKEND"], plt.get_backend())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained victim and what two clients share, networks of a user's, and a notebook."""
    folder = tmp_path_factory.mktemp("warm")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).parents[2])
        data, victim, shared, truth = (folder / f"{name}.safetensors" for name in ("data", "victim", "shared", "truth"))
        save_split(load("cifar10", "validation", "packaged", None), data)
        step = TrainStep(network=LeNetZhu(), dataset="cifar10", training=None, seed=0)
        train_victim(step, None, None, victim, None, CPU)
        share_shard(share_step(), victim, data, shared, truth, CPU)
    (folder / "networks.py").write_text(NETWORKS)
    (folder / "drawing.py").write_text(NOTEBOOK)
    return folder


@dataclass
class Warm:
    """A warm process for jobs in a folder, and the environment of such jobs."""

    process: subprocess.Popen[bytes]
    path: Path
    environment: dict[str, str]


def started(folder: Path) -> Warm:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        process, path = start(environment())
    return Warm(process, path, environment() | {client.VARIABLE: str(path)})


@pytest.fixture(scope="module")
def warm(folder: Path) -> Iterator[Warm]:
    warm = started(folder)
    yield warm
    warm.process.stdin.close()
    warm.process.wait(20)


def launch(folder: Path, variables: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = ["python", "-m", "invgrad", *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=variables, start_new_session=True, **pipes)


def said(folder: Path, variables: dict[str, str], *arguments: str) -> tuple[int, str]:
    job = launch(folder, variables, *arguments)
    words, _ = job.communicate(timeout=180)
    return job.returncode, words


def train(function: str, out: str = "mine.safetensors") -> list[str]:
    network = {"name": "custom", "factory": f"networks:{function}"}
    step = {"network": network, "dataset": "cifar10", "training": None, "seed": 0}
    return ["train", "--settings", json.dumps(step), "--out", out, "--device", "cpu", "--threads", "1"]


def attack(iterations: int, out: str) -> list[str]:
    step = {"attack": {"iterations": iterations, "restarts": 1}, "seed_key": "k"}
    return [
        *("attack", "--settings", json.dumps(step), "--victim", "victim.safetensors"),
        *("--shared", "shared.safetensors", "--out", f"{out}.safetensors", "--every-iterations", "10"),
        *("--device", "cpu", "--threads", "1"),
    ]


def facts(folder: Path, variables: dict[str, str]) -> dict[str, object]:
    code, words = said(folder, variables, *train("lenet"))
    assert code == 0, words
    return dict(eval(words))


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 120
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline, path
        time.sleep(0.02)
    return path.read_bytes().decode(errors="replace")


def test_a_job_is_a_fork_and_its_process_is_as_otherwise(folder: Path, warm: Warm) -> None:
    expected = facts(folder, environment() | {"TMPDIR": str(folder)})
    found = facts(folder, warm.environment | {"TMPDIR": str(folder)})
    assert expected.pop("parent") == os.getpid()
    assert found.pop("parent") == warm.process.pid
    assert found == expected
    assert found["temporary"] == str(folder)


def test_same_bytes_and_the_same_record(folder: Path, warm: Warm) -> None:
    measured = ["--cell", "cell", "--seed", "0", "--truth", "truth.safetensors"]
    compared = {}
    for name, variables in {"plain": environment(), "warm": warm.environment}.items():
        (folder / name).mkdir()
        out = f"{name}/attack"
        jobs = [
            attack(20, out),
            ["measure", *measured, "--reconstruction", f"{out}.safetensors", "--out", f"{name}/rows.csv"],
            ["notebook", "--source", "drawing.py", "--out", f"{name}/notebook.ipynb", "--log", f"{name}/log.ipynb"],
        ]
        for job in jobs:
            assert said(folder, variables, *job)[0] == 0
        files = [folder / f"{name}/{file}" for file in ("attack.safetensors", "rows.csv", "notebook.ipynb")]
        records = [json.loads(file.with_suffix(".json").read_text()) for file in files]
        for record in records:
            assert 0 <= record.pop("seconds") < 30
            for each in ("started", "ms_per_trial_iteration", "sha256"):
                record.pop(each, None)
            for earlier in record["lineage"].values():
                del earlier["seconds"]
            record["command"] = [word.replace(name, "") for word in record["command"]]
        rows = pd.read_csv(files[1]).drop(columns="seconds_per_client")
        compared[name] = [files[0].read_bytes(), rows.to_csv(), files[2].read_text()], records
    assert compared["warm"] == compared["plain"]
    assert "image/png" in compared["warm"][0][2]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["train", "--settings", "{}", "--out", "x"], 2, "error: --settings"),
        (train("wrong"), 1, "RuntimeError: this network is wrong"),
        (train("killed"), -signal.SIGKILL, ""),
    ],
    ids=["settings", "exception", "killed"],
)
def test_errors_and_exit_codes_pass(command: list[str], code: int, words: str, folder: Path, warm: Warm) -> None:
    ended, text = said(folder, warm.environment, *command)
    assert ended == code
    assert words in (text.splitlines() or [""])[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_job_which_keeps_its_state(number: signal.Signals, folder: Path, warm: Warm) -> None:
    out = f"stopped-{number}"
    job = launch(folder, warm.environment, *attack(10**6, out))
    wait_for(folder / f"{out}-unfinished.safetensors")
    job.send_signal(number)
    words, _ = job.communicate(timeout=20)
    assert job.returncode == 128 + number
    assert f"stopped by {number.name}" in words


def test_ctrl_c_while_the_warm_process_imports_ends_a_client_without_a_word(folder: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        job = launch(folder, environment() | {client.VARIABLE: str(tmp_path / "socket")}, "--version")
        listener.accept()
        job.send_signal(signal.SIGINT)
        words, _ = job.communicate(timeout=20)
    assert job.returncode == -signal.SIGINT
    assert words == ""


def test_a_client_that_is_killed_takes_its_job_with_it(folder: Path, warm: Warm) -> None:
    job = launch(folder, warm.environment, *attack(10**6, "killed"))
    state = folder / "killed-unfinished.safetensors"
    wait_for(state)
    (fork,) = psutil.Process(warm.process.pid).children()
    job.kill()
    words, _ = job.communicate(timeout=20)
    assert "stopped by SIGTERM" in words
    wait_until_gone(fork.pid)
    assert state.exists()


def test_a_client_ends_with_what_started_it(folder: Path, warm: Warm) -> None:
    """A notebook's kernel with the notebook's job, say."""
    command = ["python", "-m", "invgrad", *attack(10**6, "orphan")]
    script = f"import subprocess; subprocess.run({command!r})"
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=folder, env=warm.environment)
    wait_for(folder / "orphan-unfinished.safetensors")
    (fork,) = psutil.Process(warm.process.pid).children()
    parent.kill()
    parent.wait()
    wait_until_gone(fork.pid)


@pytest.fixture
def is_warm(folder: Path, warm: Warm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., bool]]:
    """Tells if a process with changed variables hands its command over; it would print the version."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "executable", str(Path(sys.executable).with_name("python")))
    monkeypatch.setattr(sys, "argv", ["invgrad", "--version"])

    def asked(**variables: str) -> bool:
        monkeypatch.setattr(os, "environ", warm.environment | variables)
        try:
            client.hand_over()
        except SystemExit as stop:
            return stop.code == 0
        return False

    yield asked
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_client_that_is_killed_at_once_harms_no_other(is_warm: Callable[..., bool], warm: Warm) -> None:
    assert is_warm()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(warm.path))
        circumstances = client.circumstances() | {"environment": warm.environment}
        request = {"circumstances": circumstances, "arguments": ["invgrad", *attack(10**6, "unread")]}
        with open(os.devnull, "r+") as nothing:  # noqa: PTH123
            socket.send_fds(connection, [json.dumps(request).encode()], [nothing.fileno()] * 3)
        time.sleep(0.2)  # until the job has said that it runs, which nobody reads
    assert is_warm()


def test_what_no_library_reads_while_it_is_imported_may_differ(is_warm: Callable[..., bool]) -> None:
    assert is_warm(SHLVL="7", TMPDIR="/tmp", JUPYTER_PATH="kernels")


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MPLBACKEND", "CUDA_VISIBLE_DEVICES", "PATH"])
def test_what_a_library_may_have_read_must_not(is_warm: Callable[..., bool], name: str) -> None:
    assert not is_warm(**{name: "7"})


def test_nor_may_folder_limits_or_umask(
    is_warm: Callable[..., bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o027)
    assert not is_warm()
    os.umask(before)
    assert is_warm()
    monkeypatch.setattr(client, "_read", lambda path: "Max address space 1000")
    assert not is_warm()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert not is_warm()


def test_a_command_has_the_room_that_one_copy_of_the_environment_leaves(
    is_warm: Callable[..., bool], warm: Warm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        room = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    rest = client.circumstances() | {"environment": warm.environment}
    monkeypatch.setattr(sys, "argv", ["invgrad", "--version", "x" * (room - len(json.dumps(rest)) - 200)])
    assert is_warm()


def test_switched_off_or_with_a_socket_that_nobody_listens_to(is_warm: Callable[..., bool], tmp_path: Path) -> None:
    stale = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(stale))
    for path in ("", str(stale), str(tmp_path / "nothing")):
        assert not is_warm(**{client.VARIABLE: path})


EMPTY = {"environment": dict[str, str]()}
REQUEST = json.dumps({"circumstances": EMPTY}).encode()
Connected = tuple[server.WarmProcess, socket.socket, socket.socket]


@pytest.fixture
def connected(tmp_path: Path) -> Iterator[Connected]:
    """A server in an empty environment, its listener, and a client that is connected; Snakemake has ended."""
    reading, writing = os.pipe()
    os.close(writing)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking,
    ):
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        asking.connect(str(tmp_path / "socket"))
        asking.settimeout(10)
        yield server.WarmProcess(listener, reading, EMPTY), listener, asking
    os.close(reading)


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each fork that was tried; there is no memory for any."""
    forks: list[int] = []

    def fork() -> int:
        forks.append(1)
        raise OSError("no memory")

    monkeypatch.setattr(os, "fork", fork)
    return forks


@pytest.mark.parametrize("uses_cuda", [True, False])
def test_no_fork_once_cuda_is_in_use(
    uses_cuda: bool, connected: Connected, forks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, listener, asking = connected
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: uses_cuda)
    socket.send_fds(asking, [REQUEST], [0, 1, 2])
    warm._accept(listener)
    assert asking.recv(1) == b"", "declined"
    assert len(forks) == (not uses_cuda)


@pytest.mark.parametrize(
    "says",
    [
        lambda asking: None,
        lambda asking: asking.send(b"{"),
        lambda asking: socket.send_fds(asking, [REQUEST], [0, 1]),
    ],
    ids=["nothing", "half", "too few streams"],
)
def test_a_client_that_does_not_ask_as_it_should_is_declined(
    says: Callable[[socket.socket], object], connected: Connected, forks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm, listener, asking = connected
    monkeypatch.setattr(server, "PATIENCE", 0.01)
    says(asking)
    warm._accept(listener)
    assert asking.recv(1) == b""
    assert not forks


def test_clients_wait_while_too_many_files_are_open(connected: Connected, monkeypatch: pytest.MonkeyPatch) -> None:
    """And meanwhile the server sees what else happens: here, that Snakemake has ended."""
    warm, listener, _ = connected

    failures = iter([OSError(errno.EMFILE, "Too many open files")] * 5)

    def accept(_: socket.socket) -> None:
        raise next(failures)

    monkeypatch.setattr(socket.socket, "accept", accept)
    warm._accept(listener)
    warm.run()


def test_its_imports_ask_nothing_of_cuda_and_leave_one_thread() -> None:
    """Neither CUDA nor the locks of other threads survive a fork."""
    variables = environment() | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    result = subprocess.run(
        [sys.executable, "-c", IMPORTING], env=variables, capture_output=True, text=True, check=False
    )
    assert result.stdout.split() == ["1", "[]"], result.stderr


class Process:
    """In place of the warm one."""

    def communicate(self) -> None:
        pass


class Run:
    """What Snakemake says of a run of five jobs on this machine; one that is not the main process has a group's."""

    is_main_process, local_exec, touch, dag = True, True, False, range(5)


@pytest.mark.parametrize(
    ("changes", "starts"),
    [
        ({}, True),
        ({"dag": range(4)}, False),
        ({"local_exec": False}, False),
        ({"is_main_process": False, "dag": range(2)}, True),
        ({"is_main_process": False, "dag": range(1)}, False),
        ({"touch": True}, False),
    ],
)
def test_it_is_started_for_more_than_a_few_jobs_on_this_machine(
    changes: dict[str, object], starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, str]] = []
    monkeypatch.delenv(client.VARIABLE, raising=False)
    monkeypatch.setattr(starting, "start", lambda variables: given.append(variables) or (Process(), "socket"))
    run = Run()
    vars(run).update(changes)
    starting.start_for(run)
    assert bool(given) == starts
    assert os.environ.pop(client.VARIABLE, None) == ("socket" if starts else None)
    if starts:
        assert given[0]["OMP_NUM_THREADS"] == "1", "as Snakemake gives it to a job"
    monkeypatch.setenv(client.VARIABLE, "")
    starting.start_for(run)
    assert len(given) == starts, "switched off"


@pytest.mark.parametrize("folder_exists", [True, False], ids=["a name too long for a socket's", "no folder"])
def test_a_run_goes_on_where_it_cannot_be_started(
    folder_exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    temporary = tmp_path / ("long" * 30)
    if folder_exists:
        temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.delenv(client.VARIABLE, raising=False)
    starting.start_for(Run())
    assert "no warm process: " in capsys.readouterr().err
    assert client.VARIABLE not in os.environ
    assert not list(temporary.glob("*")), "nothing is left behind"


def test_it_ends_with_snakemake_and_its_jobs_before_it(folder: Path, warm: Warm) -> None:
    """(Last, since it does.)"""
    job = launch(folder, warm.environment, *attack(10**6, "ended"))
    wait_for(folder / "ended-unfinished.safetensors")
    warm.process.stdin.close()
    words, _ = job.communicate(timeout=20)
    assert "stopped by SIGTERM" in words
    assert job.returncode == 128 + signal.SIGTERM
    assert warm.process.wait(20) == 0
    assert not warm.path.parent.exists()


def test_if_it_is_killed_its_jobs_are_stopped(folder: Path) -> None:
    warm = started(folder)
    job = launch(folder, warm.environment, *attack(10**6, "alone"))
    wait_for(folder / "alone-unfinished.safetensors")
    warm.process.kill()
    words, _ = job.communicate(timeout=20)
    assert "stopped by SIGTERM" in words
    assert "error: the warm process" in words
    assert job.returncode == 1
    warm.process.wait(20)
    warm.process.stdin.close()
    shutil.rmtree(warm.path.parent)
