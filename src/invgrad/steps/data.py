"""Step `data`: one split of a data set, from its source, as one file."""

from collections.abc import Sequence
from pathlib import Path

from invgrad.data.settings import settings_of_split
from invgrad.data.sources import load
from invgrad.data.splits import save_split
from invgrad.results.origin import Origin
from invgrad.results.provenance import Record
from invgrad.settings import SettingsError


def prepare(
    dataset: str, split: str, source: str, root: Path | None, out: Path, indices: Sequence[int] | None = None
) -> None:
    """Write the split, or its images at these positions, to `out` and a record beside it."""
    if source == "packaged" and root is not None:
        raise SettingsError(f"--root: the packaged source reads installed packages, not {root}; leave it out")
    record = Record(Origin.of("data", settings_of_split(dataset, split, source, root, indices, out), {}))
    data = load(dataset, split, source, root, indices=indices)
    save_split(data, out)
    record.write(out, root=str(root) if root else None, source=data.source, images=len(data.images))
