"""The digest of an image folder is of what a split is made from, and of that alone."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from invgrad.data import folders
from invgrad.data.availability import is_folder
from invgrad.data.folders import folder_digest
from invgrad.data.registry import PACKAGED
from invgrad.results import remembered
from invgrad.settings import SettingsError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images of CIFAR-10 for training and three for validation; the digests ask for no image that can be read."""
    for name in ("train/cat/0_a", "train/dog/1_b", "test/cat/0_c", "test/dog/1_d", "test/dog/2_e"):
        file = tmp_path / f"data/cifar10/{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path / "data"


def digest(root: Path, indices: list[int] | None = None, split: str = "validation", registry: Path = PACKAGED) -> str:
    return folder_digest("cifar10", split, root, root.parent / "kept", indices, registry)


def replaced(test: Path) -> None:
    """Put another image of the same size and time in the place of one."""
    file = test / "cat/0_c.png"
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_text(file.read_text()[::-1])
    os.utime(file, ns=times)


CHANGES: dict[str, Callable[[Path], object]] = {
    "replaced": replaced,
    "added": lambda test: (test / "cat/7_new.jpg").write_text("new"),
    "removed": lambda test: (test / "dog/2_e.png").unlink(),
    "renamed": lambda test: (test / "dog/2_e.png").rename(test / "dog/3_e.png"),
    "of another class": lambda test: (test / "dog/2_e.png").rename(test / "cat/2_e.png"),
    "with a list of classes": lambda test: (test.parent / "classes.txt").write_text("cat"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_image_is_another_digest(root: Path, change: str) -> None:
    before = digest(root)
    CHANGES[change](root / "cifar10/test")
    assert digest(root) != before


def test_times_places_and_other_files_do_not_count(root: Path, tmp_path: Path) -> None:
    before = digest(root)
    os.utime(root / "cifar10/test/cat/0_c.png", (0, 0))
    (root / "cifar10/test/cat/notes.txt").write_text("no image")
    (root / "cifar10/train/cat/0_a.png").write_text("of the other split")
    assert digest(root) == before
    shutil.copytree(root, tmp_path / "elsewhere/data")
    assert digest(tmp_path / "elsewhere/data") == before


def test_only_images_that_are_asked_for_count(root: Path) -> None:
    before = digest(root, [0, 2])
    (root / "cifar10/test/dog/1_d.png").write_text("other")
    assert digest(root, [0, 2]) == before
    (root / "cifar10/test/dog/2_e.png").write_text("other")
    assert digest(root, [0, 2]) != before


def test_training_images_count_where_they_give_the_statistics(root: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(PACKAGED.read_text())
    del content["datasets"]["cifar10"]["statistics"]
    registry = tmp_path / "datasets.yaml"
    registry.write_text(yaml.safe_dump(content))
    before = digest(root, registry=registry)
    (root / "cifar10/train/cat/0_a.png").write_text("other")
    assert digest(root, registry=registry) != before


def test_images_are_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "SETTLED", -(10**10))
    read, sha256 = [], folders.sha256
    monkeypatch.setattr(folders, "sha256", lambda file: (read.append(file.name), sha256(file))[1])
    before = digest(root), digest(root, split="train")
    assert (digest(root), digest(root, split="train")) == before
    assert sorted(read) == ["0_a.png", "0_c.png", "1_b.png", "1_d.png", "2_e.png"]
    replaced(root / "cifar10/test")
    assert digest(root) != before[0]
    assert read[5:] == ["0_c.png"]


def test_a_folder_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no folder train with train images"):
        digest(tmp_path, split="train")


def test_what_has_published_checksums_is_no_folder() -> None:
    assert [is_folder("cifar10", source) for source in ("packaged", "torchvision", "folder")] == [False, False, True]
    assert is_folder("imagenet", "torchvision")
