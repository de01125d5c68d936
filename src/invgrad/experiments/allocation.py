"""Allocation of threads and devices to jobs."""

import os
import sys
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from invgrad.data.registry import describe
from invgrad.experiments.plan import Plan
from invgrad.networks.facts import size_of
from invgrad.networks.parallelism import NetworkSize
from invgrad.results.fingerprints import PACKAGE


def run_jobs_with_this_python() -> None:
    """Make jobs run this package with this Python, also if its environment is not activated."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))


DEVICE_FILES = Path("/dev")


def may_use_gpu(device: str) -> bool:
    """Guess, without torch, whether jobs on this device, as the configuration names it, find a GPU."""
    if device != "auto":
        return device != "cpu"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() in ("", "-1")
    return not hidden and not version("torch").endswith("+cpu") and any(DEVICE_FILES.glob("nvidia[0-9]*"))


class Allocation:
    """Allocation of this machine's CPU threads to the attacks of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def has_short_jobs(self, cell: str) -> bool:
        """Tell if a cell's jobs are short: its attack is in closed form, or its network is small.

        Attacks on small networks take a minute where others take an hour.
        """
        victim = self._plan.clients[self._plan.cells[cell].clients].victim
        return self._plan.cells[cell].attack.kind == "analytic" or victim in self._small_victims

    def threads(self, cell: str, available: int) -> int:
        """Number of CPU threads of a cell's attacks, of the `available` ones.

        Small networks gain more from a second job than from a second thread. On a GPU one attack of a larger network
        takes all cores, so that it is alone on the GPU. On a CPU every such attack first has a core: two threads made a
        step of ResNet-20 (width 64) no faster, of ConvNet 1.5 times and of ResNet-18 at 224×224 1.3 times as fast.
        """
        if self.has_short_jobs(cell):
            return 1
        if may_use_gpu(self._plan.project.config.device):
            return available
        return max(1, available // max(1, self._long_jobs))

    @cached_property
    def _long_jobs(self) -> int:
        """The number of attacks that are not short, for the artefacts that are to be made."""
        cells = self._plan.cells_of(self._plan.project.artefacts)
        return sum(len(self._plan.shards(cell)) for cell in cells if not self.has_short_jobs(cell))

    @cached_property
    def _small_victims(self) -> set[str]:
        return {name for name in self._plan.victims if self._size(name).is_small}

    def _size(self, victim: str) -> NetworkSize:
        chosen = self._plan.victim(victim)
        dataset = describe(chosen.dataset)
        return size_of(chosen.network, classes=dataset.classes, size=dataset.size)
