"""The blind check of an audit's rule: what it compares, and the table that is kept of it."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from recovery import EACH, TABLE, reconstructions, retrieved
from torch import Tensor

from invgrad.metrics.recovery import RECOVERIES

FREE = ["noise", "blur", "mixture with another image"]
"""Kinds that take no attack."""


def images(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)


def test_reconstructions_go_from_nothing_to_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery._attacked", lambda image, *_: image / 255)
    own, strangers = images(5 * EACH, 1), images(5 * EACH, 2)
    made = reconstructions(own, torch.zeros(len(own), dtype=torch.long), strangers)
    assert len(made) == 5 * EACH
    error = pd.Series(
        [float((each - image / 255).abs().mean()) for each, image in zip(made["image"], own, strict=True)]
    )
    for kind in FREE:
        errors = error[made["kind"] == kind]
        assert errors.iloc[0] < 0.02
        assert errors.iloc[-1] > 0.2
    last = made.loc[made["kind"] == "mixture with another image", "image"].iloc[-1]
    assert torch.equal(last, strangers[3 * EACH - 1] / 255)


def test_an_image_is_retrieved_by_its_features_alone() -> None:
    own, others = images(3, 1) / 255, images(50, 2) / 255
    found = torch.stack([own[0], others[7], 0.6 * own[2] + 0.4 * others[9]])
    assert retrieved(lambda each: each.flatten(1) - 0.5, found, own, others) == [True, False, True]


def test_the_kept_table_has_every_reconstruction() -> None:
    table = pd.read_csv(TABLE)
    assert len(table) == 100
    assert (table.groupby("kind").size() == EACH).all()
    assert set(table["recovery"]) == set(RECOVERIES)
    assert TABLE.parent == Path(__file__).parents[2] / "docs"
