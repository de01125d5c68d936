"""Cells that are not run although an artefact shows them."""

from collections.abc import Collection

from invgrad.experiments.scales import reach, undecided, widest_first
from invgrad.experiments.schema import Reasons
from invgrad.settings import SettingsError, unknown


class LeftOut:
    """Cells that are left out, each with its reason; of several names that fit a cell, the narrowest counts."""

    def __init__(self, reasons: Reasons, cells: Collection[str], where: str) -> None:
        """`reasons` by a name or pattern of `cells`.

        Raises `SettingsError`, starting with `where`, for a name that fits no cell, and for two names with different
        reasons for one cell of which neither is narrower.
        """
        self._reasons = reasons
        self._fitting = reach(reasons, cells)
        for name, found in self._fitting.items():
            if not found.intersection(cells):
                raise SettingsError(f"{where}: left_out: {unknown('cell', name, cells)}")
        for cell in cells:
            for one, other in undecided(cell, self._fitting):
                if reasons[one] != reasons[other]:
                    raise SettingsError(
                        f"{where}: left_out: '{one}' and '{other}' both say why {cell} is left out, and neither is "
                        f"narrower (nearest: say it under '{cell}')"
                    )

    def reason(self, cell: str) -> str | None:
        """The reason why a cell is left out; None if it is run."""
        names = widest_first(cell, self._fitting)
        return self._reasons[names[-1]] if names else None
