"""What the files of a table or figure say of how they were made, since they are passed on without their record."""

from dataclasses import dataclass

from invgrad import __version__
from invgrad.results import source_version

SOFTWARE = f"invgrad {__version__}"


def commit() -> str:
    """Of the source tree, with `+changes` if it has uncommitted ones; `unknown` outside a checkout."""
    name, changed = source_version()
    return f"{name}+changes" if changed else name


@dataclass(frozen=True)
class Stamp:
    """Which code, which scale, which settings."""

    commit: str
    """What `commit` says."""
    scale: str
    settings: str
    """What `Plan.settings_hash` says."""

    def __str__(self) -> str:
        return f"{SOFTWARE}, commit {self.commit}, scale {self.scale}, settings {self.settings}"
