"""Settings of a prepared split, which its record holds, and of copies of its images. Imports no torch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from invgrad.data.availability import is_folder, known_source
from invgrad.data.folders import folder_digest
from invgrad.data.registry import describe

JpegQuality = Annotated[int | None, Field(ge=1, le=95, exclude_if=lambda quality: quality is None)]
"""Pillow's quality of the JPEG copies that clients hold in place of the images; None: the images as they are."""


def settings_of_split(
    dataset: str, split: str, source: str, root: Path | None, indices: Sequence[int] | None, out: Path
) -> dict[str, Any]:
    """All that the split in the file `out` depends on: what is asked for, its entry of the registry, the user's files.

    Which contents of the user's files are known is remembered beside `out`. Raises `SettingsError` if there are none.
    """
    digest = None
    if root and is_folder(dataset, source):
        digest = folder_digest(dataset, split, root, out.with_name(".images.kept"), indices)
    return {
        "dataset": dataset,
        "split": split,
        "source": source,
        "indices": None if indices is None else list(indices),
        "registry": registry_digest(dataset, source),
        "images": digest,
    }


def registry_digest(dataset: str, source: str | None = None) -> str:
    """Digest of what the registry says of a data set: less than the whole, or a word on another would cost its results.

    `source`: a source whose files count, too.
    """
    entry = describe(dataset)
    about = entry.model_dump_json(exclude={"title", "sources"})
    about += entry.sources[known_source(source)].model_dump_json() if source else ""
    return hashlib.sha256(about.encode()).hexdigest()[:16]
