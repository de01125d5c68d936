"""Settings of running jobs."""

from pydantic import PositiveFloat, PositiveInt

from invgrad.settings import Settings


class CheckpointInterval(Settings):
    """How often the state of an unfinished job is kept: whenever this much has passed, whichever comes first."""

    seconds: PositiveFloat = 60
    iterations: PositiveInt = 500
    """Of an attack, or of a training's optimiser."""
