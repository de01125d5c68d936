"""Step `measure`: metrics that compare reconstructions with the truth, one row per image."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from invgrad.data.images import to_unit
from invgrad.data.splits import read_split
from invgrad.metrics.image_pairs import compare, read_image_pairs
from invgrad.metrics.recovery import judge
from invgrad.results.files import read_tensors, write_csv
from invgrad.results.origin import Origin, numbered, refuse_other_clients
from invgrad.results.provenance import Record, read_record


def measure(
    cell: str,
    seed: int,
    reconstructions: Sequence[Path],
    truths: Sequence[Path],
    out: Path,
    others: Path | None = None,
    judged_among: int | None = None,
) -> None:
    """Write one row per image of a cell and network seed, whose shards these are.

    With `others`, a split, each row says whether the image was recovered: among the first `judged_among` of these.
    """
    inputs = numbered("reconstruction", reconstructions) | numbered("truth", truths) | {"others": others}
    settings = {"cell": cell, "seed": seed} | ({"judged_among": judged_among} if judged_among else {})
    record = Record(Origin.of("measure", settings, inputs))
    for shard in zip(reconstructions, truths, strict=True):
        refuse_other_clients(*shard)
    among = to_unit(read_split(others).images[:judged_among], torch.float32, "cpu") if others else None
    tables = [rows(cell, seed, *shard, among) for shard in zip(reconstructions, truths, strict=True)]
    write_csv(out, pd.concat(tables, ignore_index=True))
    record.write(out)


def rows(cell: str, seed: int, reconstruction: Path, truth: Path, among: Tensor | None = None) -> pd.DataFrame:
    """One row per image of a shard; whether it was recovered is judged among these images [m, 3, h, w] in [0, 1]."""
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
    if among is not None:
        pairs = read_image_pairs([str(reconstruction)], [str(truth)])
        judged = judge(pairs.reconstructions, pairs.originals, among)
        measures = measures.join(judged[["recovery", "correlation", "nearest_other"]])
    record = read_record(reconstruction)
    how = {"precision": about["precision"], "device": record["device"]}
    how["seconds_per_client"] = record["seconds"] / clients
    return pd.concat([which, measures], axis=1).assign(**how)
