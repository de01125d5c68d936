"""Step `measure`: metrics that compare reconstructions with the truth, one row per image."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from invgrad.metrics.image_pairs import compare
from invgrad.results.files import read_tensors, write_csv
from invgrad.results.origin import Origin, numbered, refuse_other_clients
from invgrad.results.provenance import Record, read_record


def measure(cell: str, seed: int, reconstructions: Sequence[Path], truths: Sequence[Path], out: Path) -> None:
    """Write one row per image of a cell and network seed, whose shards these are."""
    inputs = numbered("reconstruction", reconstructions) | numbered("truth", truths)
    record = Record(Origin.of("measure", {"cell": cell, "seed": seed}, inputs))
    for shard in zip(reconstructions, truths, strict=True):
        refuse_other_clients(*shard)
    tables = [rows(cell, seed, *shard) for shard in zip(reconstructions, truths, strict=True)]
    write_csv(out, pd.concat(tables, ignore_index=True))
    record.write(out)


def rows(cell: str, seed: int, reconstruction: Path, truth: Path) -> pd.DataFrame:
    """One row per image of a shard."""
    attacked, about = read_tensors(reconstruction)
    true, source = read_tensors(truth)
    clients, images = true["index"].shape
    which = pd.DataFrame(
        {
            "cell": cell,
            "seed": seed,
            "dataset": source["dataset"],
            "split": source["split"],
            "source": source["source"],
            "lossy": true["lossy"].flatten().tolist(),
            "client": true["index"][:, 0].repeat_interleave(images).tolist(),
            "image": true["index"].flatten().tolist(),
            "shared_norm": true["shared_norm"].repeat_interleave(images).tolist(),
        }
    )
    measures, _ = compare(attacked, true["images"], true["labels"], about["mean"], about["std"])
    record = read_record(reconstruction)
    how = {"precision": about["precision"], "device": record["device"]}
    how["seconds_per_client"] = record["seconds"] / clients
    return pd.concat([which, measures], axis=1).assign(**how)
