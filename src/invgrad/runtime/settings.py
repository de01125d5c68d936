"""Settings of running jobs."""

from pydantic import Field, PositiveInt

from invgrad.settings import Settings


class CheckpointInterval(Settings):
    """Interval between two writes of an unfinished job's state: this time or this many iterations, the shorter one."""

    seconds: float = Field(default=60, ge=0.001)
    iterations: PositiveInt = 500
    """Iterations of an attack, or steps of a training's optimiser."""
