"""Facts on machine and installation for a bug report, also where these are broken."""

import os
import pkgutil
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from invgrad import __version__
from invgrad.runtime.cores import usable_cores
from invgrad.tangent.kernels.builds import KINDS

VARIABLES = ("OMP_", "CUDA_", "SLURM_")
"""Prefixes of the names of the environment variables that are shown."""
SECRETS = {"SLURM_JWT"}
"""Variables whose values let a reader act as the user; they are not shown."""
COMMANDS = {
    "git": ("--version",),
    "dvc": ("--version",),
    "sbatch": ("--version",),
    "nvidia-smi": ("--query-gpu=driver_version", "--format=csv,noheader"),
}
"""Programs whose versions are shown, with the arguments that print them."""
PATIENCE = 5.0
"""Seconds that a program may take to answer."""
PLUGINS = "snakemake_executor_plugin_"


def environment() -> dict[str, str]:
    """Every fact by its name, one line each, in reading order.

    A fact that cannot be found out is replaced by the reason; nothing is raised.
    """
    facts: dict[str, Callable[[], str]] = {
        "invgrad": _invgrad,
        "python": lambda: f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform,
        "processor": _processor,
        "usable cores": _cores,
        "memory": lambda: _gib(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "free disk": _disk,
        "GPUs": _gpus,
        "torch build": _torch,
        **{f"kernel {name}": partial(_kernel, name) for name in KINDS},
        **{name: partial(_variable, name) for name in sorted(os.environ) if name.startswith(VARIABLES)},
        **{f"command {name}": partial(_answer, name, *arguments) for name, arguments in COMMANDS.items()},
        **{name: partial(_version, name) for name in _packages()},
    }
    return {name: _line(fact) for name, fact in facts.items()}


def _line(fact: Callable[[], str]) -> str:
    """The fact, or the reason why there is none, as one line that every terminal can print."""
    try:
        text = fact()
    except Exception as error:  # whatever is broken: the rest is shown
        text = f"unknown ({type(error).__name__}: {error})"
    return " ".join(text.split()).encode(errors="backslashreplace").decode()


# Each imports what it needs by itself: one that is broken must not keep the others from being shown.


def _invgrad() -> str:
    from invgrad.results.provenance import commit

    return f"{__version__}, commit {commit()} ({Path(__file__).parents[1]})"


def _processor() -> str:
    from invgrad.results.provenance import device_name

    return device_name(None).removeprefix("cpu: ")


def _cores() -> str:
    return f"{usable_cores()} of {os.cpu_count()}"


def _disk() -> str:
    usage = shutil.disk_usage(Path.cwd())
    return f"{_gib(usage.free)} of {_gib(usage.total)} ({Path.cwd()})"


def _gpus() -> str:
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # the latter from a torch that is built without CUDA
        return f"none ({str(error).partition('. ')[0]})"
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    texts = [f"{each.name}, {_gib(each.total_memory)}, compute capability {each.major}.{each.minor}" for each in found]
    return "; ".join(f"{count} x {text}" for text, count in Counter(texts).items())


def _torch() -> str:
    import torch

    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    processor = torch.backends.cpu.get_cpu_capability()
    return f"{torch.__version__}, {cuda}, {torch.get_num_threads()} threads, instructions {processor}"


def _kernel(name: str) -> str:
    from invgrad.tangent.kernels.builds import on_stale_builds
    from invgrad.tangent.kernels.library import library

    loaded = library(name)
    if loaded:
        return Path(loaded._name).name
    return f"none ({on_stale_builds() or 'installed without a C++ compiler'})"


def _variable(name: str) -> str:
    return "set (a secret, not shown)" if name in SECRETS else os.environ[name] or "(empty)"


def _answer(command: str, *arguments: str) -> str:
    """The first line that a program says, found where the workflow's jobs find it."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    path = shutil.which(command, path=os.pathsep.join(places))
    if path is None:
        return "not found"
    run = subprocess.run(
        [path, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=PATIENCE,
        check=False,
    )
    first = next(iter((run.stdout or run.stderr).splitlines()), "no answer")
    return f"{first} ({path})" if run.returncode == 0 else f"fails with exit code {run.returncode}: {first} ({path})"


def _packages() -> list[str]:
    """Direct dependencies of invgrad, if it is installed, and Snakemake's executors."""
    try:
        needed = [re.split(r"[^\w.-]", requirement)[0] for requirement in requires("invgrad") or ()]
    except PackageNotFoundError:  # used from a folder
        needed = []
    plugins = [each.name for each in pkgutil.iter_modules() if each.name.startswith(PLUGINS)]
    return list(dict.fromkeys([*needed, *(name.replace("_", "-") for name in plugins)]))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
