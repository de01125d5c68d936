"""Checkpoint of an unfinished job; a job that resumes from it gives the same result as one that was never stopped."""

import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from invgrad.results.files import read_tensors, remove_parts, write_tensors
from invgrad.results.origin import Origin
from invgrad.results.provenance import device_name
from invgrad.runtime.settings import CheckpointInterval
from invgrad.runtime.signals import Interrupted, StopSignal
from invgrad.settings import SettingsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LEAST_WORK = 20.0
"""Least work between two writes, as a multiple of the last write's time: writing gigabytes must not slow the job."""


class Checkpoint:
    """The state of an unfinished job in one file, and how often it is written."""

    def __init__(
        self,
        path: Path,
        origin: Origin,
        device: "torch.device | None" = None,
        every: CheckpointInterval | None = None,
        stop: StopSignal | None = None,
    ) -> None:
        """`origin`: of the job's result; a state of other facts is not resumed, nor one of another torch."""
        self.path = path
        self._origin = origin.facts | {"torch": version("torch")}
        self._device = device
        self._every = every or CheckpointInterval()
        self._stop = stop or StopSignal()
        self._started = self._written = time.monotonic()
        self._write_took = 0.0
        self._iterations = 0
        self._forget()

    def _forget(self) -> None:
        self.resumed = 0
        """Number of times that the job was resumed."""
        self.seconds_before = 0.0
        """Seconds that earlier processes spent on the work that is kept."""
        self.devices_before: list[str] = []
        """Names of the devices that those processes ran on."""

    def kept(self) -> "Mapping[str, Tensor] | None":
        """Return the state that an earlier process left, or None.

        It is None if there is none, or if it cannot be resumed; a printed line then says why.
        """
        if not self.path.exists():
            return None
        try:
            tensors, about = read_tensors(self.path)
            if about.get("origin") != self._origin:
                raise SettingsError(f"{self.path}: is of other settings, data or code")
        except SettingsError as error:
            self.discard(str(error))
            return None
        self.resumed = about["resumed"] + 1
        self.seconds_before, self.devices_before = about["seconds"], about["devices"]
        return tensors

    def discard(self, why: str) -> None:
        """Print why the state cannot be resumed, and delete it."""
        print(f"{' '.join(why.split())}; starts from the beginning", flush=True)
        self.path.unlink(missing_ok=True)
        self._forget()

    def due(self) -> bool:
        """Decide if the state is to be written now; call this once after every iteration."""
        self._iterations += 1
        passed = time.monotonic() - self._written
        enough = self._iterations >= self._every.iterations or passed >= self._every.seconds
        return self._stop.signal is not None or (enough and passed >= LEAST_WORK * self._write_took)

    def keep(self, tensors: "Mapping[str, Tensor]") -> None:
        """Write the state; raise `Interrupted` afterwards if the process was asked to stop.

        A full disk does not end the job: a line says so, and the job continues. If the process was asked to stop, the
        `OSError` is raised.
        """
        began = time.monotonic()
        seconds = self.seconds_before + began - self._started
        about = {"origin": self._origin, "seconds": seconds, "resumed": self.resumed, "devices": self._devices()}
        try:
            write_tensors(self.path, tensors, about)
        except OSError as error:
            if self._stop.signal is not None:
                raise
            print(f"the state could not be kept: {error}", flush=True)
        self._written = time.monotonic()
        self._write_took, self._iterations = self._written - began, 0
        if self._stop.signal is not None:
            raise Interrupted(self._stop.signal, self.path)

    def _devices(self) -> list[str]:
        return list(dict.fromkeys([*self.devices_before, device_name(self._device)]))

    def remove(self) -> None:
        """Delete the state, once the result is written."""
        self.path.unlink(missing_ok=True)
        remove_parts(self.path)


def remove_states(states: Path, results: Path) -> None:
    """Delete every state below `states` whose result, of the same name, is there below `results`."""
    for state in states.rglob("*.safetensors"):
        if (results / state.relative_to(states)).exists():
            state.unlink(missing_ok=True)
            remove_parts(state)
