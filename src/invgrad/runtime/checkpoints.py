"""What a job keeps on its way, so that it can be stopped at any moment and end as if it had not been."""

import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invgrad.results.files import read_tensors, remove_parts, sha256, write_tensors
from invgrad.results.fingerprints import fingerprint, step_code
from invgrad.results.provenance import device_name
from invgrad.runtime.settings import CheckpointInterval
from invgrad.runtime.signals import Interrupted, StopSignal
from invgrad.settings import Settings, SettingsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LEAST_WORK = 20.0
"""Of work between two writes, in times of what the last one took: a state of gigabytes must not eat the job."""


def origin_of(step: str, settings: Settings, inputs: Iterable[Path | None]) -> dict[str, Any]:
    """All that the result of a step depends on: its settings, the files that it reads, its code."""
    return {
        "settings": settings.model_dump(mode="json"),
        "inputs": [path and sha256(path) for path in inputs],
        "code": fingerprint(step_code(step)),
        "torch": version("torch"),
    }


class Checkpoint:
    """The state of a job in one file."""

    def __init__(
        self,
        path: Path,
        origin: Mapping[str, Any],
        device: "torch.device | None" = None,
        every: CheckpointInterval | None = None,
        stop: StopSignal | None = None,
    ) -> None:
        """`origin`: all that the job's result depends on, as JSON; a state of another origin is not gone on from."""
        self.path = path
        self._origin = dict(origin)
        self._device = device
        self._every = every or CheckpointInterval()
        self._stop = stop or StopSignal()
        self._started = self._written = time.monotonic()
        self._write_took = 0.0
        self._iterations = 0
        self._forget()

    def _forget(self) -> None:
        self.resumed = 0
        """How often the job was gone on with."""
        self.seconds_before = 0.0
        """What the processes took whose work this one goes on with, as far as it was kept."""
        self.devices_before: list[str] = []
        """Where they ran."""

    def kept(self) -> "Mapping[str, Tensor] | None":
        """The state that an earlier process left; None, and a line that says why, if it cannot be gone on from."""
        if not self.path.exists():
            return None
        try:
            tensors, about = read_tensors(self.path)
            if about.get("origin") != self._origin:
                raise SettingsError(f"{self.path}: is of other settings, data or code")
        except SettingsError as error:
            self.start_anew(str(error))
            return None
        self.resumed = about["resumed"] + 1
        self.seconds_before, self.devices_before = about["seconds"], about["devices"]
        return tensors

    def start_anew(self, why: str) -> None:
        """Say why the state cannot be gone on from, and leave it behind."""
        print(f"{' '.join(why.split())}; starts anew", flush=True)
        self.path.unlink(missing_ok=True)
        self._forget()

    def due(self) -> bool:
        """Whether the state is to be kept now; to be asked after every iteration."""
        self._iterations += 1
        passed = time.monotonic() - self._written
        enough = self._iterations >= self._every.iterations or passed >= self._every.seconds
        return self._stop.signal is not None or (enough and passed >= LEAST_WORK * self._write_took)

    def keep(self, tensors: "Mapping[str, Tensor]") -> None:
        """Write the state; raises `Interrupted` afterwards if the process was asked to stop. A disk that is full just now
        is no reason to end a job: it says so and goes on.
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
        """The result is written; nothing is left behind."""
        self.path.unlink(missing_ok=True)
        remove_parts(self.path)


def remove_states(states: Path, results: Path) -> None:
    """Remove every state below `states` whose result is there: of the same name, below `results`."""
    for state in states.rglob("*.safetensors"):
        if (results / state.relative_to(states)).exists():
            state.unlink(missing_ok=True)
            remove_parts(state)
