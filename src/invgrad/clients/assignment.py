"""Assignment of images to clients."""

from collections.abc import Sequence

from invgrad.data.splits import Split, rows_at
from invgrad.settings import SettingsError


def clients(
    split: Split,
    *,
    count: int,
    images_per_client: int,
    distinct_labels: bool,
    start: int = 0,
    every: int = 1,
    indices: Sequence[int] | None = None,
) -> list[list[int]]:
    """Assign images to each of `count` clients; returns their rows in the split's tensors.

    Clients take their images one after another: those at the positions `indices` of the published split, or every
    `every`-th from position `start` on, as far as the split has them; with `distinct_labels` the next ones whose label
    the client does not hold yet (as the released code does). Raises `SettingsError` if images run out.
    """
    if start < 0 or every < 1 or count < 1 or images_per_client < 1:
        raise SettingsError(
            f"start {start}, every {every}, count {count}, images_per_client {images_per_client}: "
            "at least 0, 1, 1 and 1 are needed"
        )
    labels: list[int] = split.labels.tolist()
    offered = _offered(split, start, every, indices)
    walk = iter(offered)
    held: list[list[int]] = []
    while len(held) < count:
        taken: list[int] = []
        seen: set[int] = set()
        while len(taken) < images_per_client:
            row = next(walk, None)
            if row is None:
                raise SettingsError(
                    f"{split.dataset} {split.split}: {len(offered)} images "
                    f"{f'from {start} on' if indices is None else 'at the given positions'} are enough for {len(held)} "
                    f"clients of {images_per_client} images{' of distinct labels' * distinct_labels}, not for {count}"
                )
            if not distinct_labels or labels[row] not in seen:
                taken.append(row)
                seen.add(labels[row])
        held.append(taken)
    return held


def _offered(split: Split, start: int, every: int, indices: Sequence[int] | None) -> list[int]:
    """List the rows that clients may take, in order."""
    row_of = {position: row for row, position in enumerate(split.index.tolist())}
    if indices is None:
        return [row for position, row in row_of.items() if position >= start and (position - start) % every == 0]
    return rows_at(row_of, indices, f"{split.dataset} {split.split}")
