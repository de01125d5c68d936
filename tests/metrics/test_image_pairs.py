"""Galleries and trajectories show what the files hold, beside the image that it belongs to."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from invgrad.metrics.image_pairs import read_image_pairs, read_trajectories
from invgrad.metrics.image_quality import psnr
from invgrad.results.files import write_tensors
from invgrad.settings import SettingsError

CLIENTS, RESTARTS, IMAGES, POINTS = 2, 2, 3, 4
TURNED = [2, 0, 1]
MEAN, STD = 0.5, 0.25


def random(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


class Shard:
    """A shard of two clients; of the second, the attack found the images in another order."""

    def __init__(self, folder: Path, number: int, *, found: tuple[int, ...] = (0, 1)) -> None:
        self.files = [str(folder / f"{kind}{number}.safetensors") for kind in ("reconstruction", "truth")]
        self.images = (255 * random(CLIENTS, IMAGES, 3, 8, 8, seed=number)).to(torch.uint8)
        self.labels = torch.arange(CLIENTS * IMAGES).reshape(CLIENTS, IMAGES) + 10 * number
        self.index = self.labels + 100
        self.noise = 0.05 * random(CLIENTS, IMAGES, 3, 8, 8, seed=50 + number)
        shown = self.images / 255 + self.noise
        self.trajectory = random(CLIENTS, RESTARTS, POINTS, IMAGES, 3, 8, 8, seed=90 + number).half()
        self.cost = random(CLIENTS, RESTARTS, POINTS, seed=7 + number)
        attacked = {
            "images": self.turned((shown - MEAN) / STD, 1),
            "labels": self.turned(self.labels, 1),
            "matching_cost": self.cost[:, :, -1],
            "iterations": torch.full((CLIENTS, RESTARTS), 6),
            "selected": torch.tensor([0, 1]),
            "trajectory": self.turned(((self.trajectory.float() - MEAN) / STD).half(), 3),
            "trajectory_cost": self.cost,
            "trajectory_iteration": torch.tensor([0, 2, 4, 6]),
        }
        for client in set(range(CLIENTS)) - set(found):
            attacked["images"][client] = torch.nan
            attacked["selected"][client] = -1
        self.write(attacked)

    def write(self, attacked: dict[str, Tensor]) -> None:
        self.attacked = attacked
        about: dict[str, Any] = {"mean": [MEAN] * 3, "std": [STD] * 3}
        write_tensors(Path(self.files[0]), attacked, about)
        truth = {"images": self.images, "labels": self.labels, "index": self.index}
        write_tensors(Path(self.files[1]), truth, {"dataset": "cifar100", "source": "packaged"})

    @staticmethod
    def turned(values: Tensor, dim: int) -> Tensor:
        """With the images of the second client in another order."""
        return torch.stack([values[0], values[1].index_select(dim - 1, torch.tensor(TURNED))])


@pytest.fixture
def shards(tmp_path: Path) -> list[Shard]:
    return [Shard(tmp_path, number) for number in range(2)]


def files(shards: list[Shard]) -> tuple[list[str], list[str]]:
    return [shard.files[0] for shard in shards], [shard.files[1] for shard in shards]


def test_a_gallery_shows_all_images_beside_their_reconstructions(shards: list[Shard]) -> None:
    shown = read_image_pairs(*files(shards))
    assert shown.dataset == "CIFAR-100"
    assert shown.client == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert shown.index == [i for shard in shards for i in shard.index.flatten().tolist()]
    assert shown.label == shown.attacked_label == [i - 100 for i in shown.index]
    originals = torch.cat([shard.images.flatten(0, 1) / 255 for shard in shards])
    noise = torch.cat([shard.noise.flatten(0, 1) for shard in shards])
    torch.testing.assert_close(shown.originals, originals)
    torch.testing.assert_close(shown.reconstructions, (originals + noise).clamp(0, 1))
    assert shown.psnr == pytest.approx(psnr(originals + noise, originals).tolist(), rel=1e-4)
    assert shown.flat_psnr == pytest.approx(psnr(torch.full_like(originals, MEAN), originals).tolist(), rel=1e-4)


@pytest.mark.parametrize("count", [1, 6, 7, 12, 50])
def test_a_gallery_may_show_the_first_images_only(shards: list[Shard], count: int) -> None:
    shown, everything = read_image_pairs(*files(shards), count=count), read_image_pairs(*files(shards))
    for name in ("client", "index", "label", "attacked_label", "psnr", "flat_psnr"):
        assert getattr(shown, name) == getattr(everything, name)[:count]
    assert torch.equal(shown.reconstructions, everything.reconstructions[:count])


def test_a_failed_client_is_not_a_number(tmp_path: Path) -> None:
    shown = read_image_pairs(*files([Shard(tmp_path, 0, found=(0,))]))
    assert pd.Series(shown.psnr).isna().tolist() == [False] * 3 + [True] * 3
    assert shown.reconstructions.isnan().flatten(1).all(1).tolist() == [False] * 3 + [True] * 3


def test_images_are_picked_by_psnr_and_failed_ones_are_last(tmp_path: Path) -> None:
    shown = read_image_pairs(*files([Shard(tmp_path, 0, found=(1,)), Shard(tmp_path, 1)]))
    picked = shown.pick(shown.ranking)
    assert sorted(shown.ranking) == list(range(12))
    assert sorted(picked.psnr[:9], reverse=True) == picked.psnr[:9]
    assert picked.client[9:] == [0, 0, 0]
    for name in ("client", "index", "label", "attacked_label", "psnr", "flat_psnr"):
        assert getattr(picked, name)[:9] == [getattr(shown, name)[position] for position in shown.ranking[:9]]
    assert psnr(picked.reconstructions[:9], picked.originals[:9]).tolist() == pytest.approx(picked.psnr[:9])


def test_trajectories_have_a_row_for_every_candidate(shards: list[Shard]) -> None:
    table = read_trajectories(*files(shards))
    assert list(table.columns) == ["client", "image", "restart", "iteration", "matching_cost", "psnr"]
    assert len(table) == 2 * CLIENTS * IMAGES * RESTARTS * POINTS
    rows = table.set_index(["client", "image", "restart", "iteration"])
    assert rows.index.is_unique
    for shard in shards:
        for client in range(CLIENTS):
            for image in range(IMAGES):
                original = shard.images[client, image] / 255
                names = shard.index[client, 0].item(), shard.index[client, image].item()
                for restart in range(RESTARTS):
                    for point in range(POINTS):
                        row = rows.loc[(*names, restart, 2 * point)]
                        candidate = shard.trajectory[client, restart, point, image].float()
                        assert row.matching_cost == pytest.approx(shard.cost[client, restart, point].item())
                        assert row.psnr == pytest.approx(psnr(candidate[None], original[None]).item(), rel=1e-3)


def test_an_attack_without_snapshots_has_no_trajectories(shards: list[Shard]) -> None:
    kept = {name: tensor for name, tensor in shards[0].attacked.items() if not name.startswith("trajectory")}
    shards[0].write(kept)
    with pytest.raises(SettingsError, match=r"reconstruction0.safetensors: holds no trajectories; set `snapshots`"):
        read_trajectories(*files(shards))
