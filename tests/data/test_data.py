import hashlib
import pickle
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from invgrad.clients.assignment import clients
from invgrad.data.availability import find_source
from invgrad.data.crops import cut, photo_crops
from invgrad.data.images import denormalise, normalise, to_unit
from invgrad.data.registry import PACKAGED, Crops, describe
from invgrad.data.sources import load
from invgrad.data.splits import TENSORS, Split, read_split, save_split
from invgrad.results.files import write_tensors
from invgrad.settings import SettingsError

STATISTICS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "origin": "made up"}


def noise(seed: int, width: int = 32, height: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def write(folder: Path, name: str, seed: int = 0, width: int = 32, height: int = 32) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    noise(seed, width, height).save(folder / name)
    return folder / name


def pixels(split: Split, row: int) -> np.ndarray:
    return split.images[row].permute(1, 2, 0).numpy()


def small_registry(path: Path, **changes: object) -> Path:
    """A registry with one data set 'toy' of three classes that only folders and torchvision's layout supply."""
    splits = ["train", "validation"]
    toy = {
        "classes": 3,
        "size": 32,
        "images": {"train": 9, "validation": 4},
        "statistics": STATISTICS,
        "sources": {"folder": {"origin": "image folder", "splits": splits}},
    }
    path.write_text(yaml.safe_dump({"datasets": {"toy": {**toy, **changes}}}))
    return path


def edited_registry(path: Path, edit: Callable[[dict], None]) -> Path:
    content = yaml.safe_load(PACKAGED.read_text())
    edit(content["datasets"])
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def labelled(labels: list[int], first: int = 0) -> Split:
    n = len(labels)
    return Split(
        dataset="toy",
        split="validation",
        source="made up",
        images=torch.randint(0, 256, (n, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
        labels=torch.tensor(labels, dtype=torch.int64),
        index=torch.arange(n) + first,
        lossy=torch.zeros(n, dtype=torch.bool),
        classes=10,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
    )


# Packaged samples


@pytest.mark.parametrize(
    ("dataset", "size", "first_labels"),
    [("cifar10", 32, [3, 8, 8, 0, 6]), ("cifar100", 32, [49, 33, 72, 51, 71]), ("imagenet", 224, [243, 559, 438])],
)
def test_packaged_samples_in_order_of_their_number(dataset: str, size: int, first_labels: list[int]) -> None:
    split = load(dataset, "validation", "packaged", None, PACKAGED)
    assert split.images.shape == (20, 3, size, size)
    assert split.images.dtype == torch.uint8
    assert split.index.tolist() == list(range(20))
    assert split.labels[: len(first_labels)].tolist() == first_labels
    assert split.labels.dtype == split.index.dtype == torch.int64
    assert split.labels.max() < split.classes == describe(dataset, PACKAGED).classes
    assert "foolbox 3.3.4" in split.source


def test_packaged_pixels_are_those_of_the_file_and_the_package_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "foolbox"]:
        monkeypatch.delitem(sys.modules, module)
    split = load("cifar10", "validation", "packaged", None, PACKAGED, limit=3)
    assert "foolbox" not in sys.modules
    assert len(split.images) == 3
    assert "0 JPEG copies, 3 lossless" in split.source
    file = describe("cifar10", PACKAGED).sources["packaged"].packages[0].paths()[2]
    assert (pixels(split, 2) == np.asarray(Image.open(file))).all()


def test_a_wrong_checksum_names_the_file(tmp_path: Path) -> None:
    def spoil(datasets: dict) -> None:
        datasets["cifar10"]["sources"]["packaged"]["packages"][0]["files"]["cifar10_07_6.png"] = "0" * 64

    registry = edited_registry(tmp_path / "datasets.yaml", spoil)
    with pytest.raises(SettingsError, match=r"cifar10_07_6\.png: sha256 is [0-9a-f]{64}, not 0{64}"):
        load("cifar10", "validation", "packaged", None, registry, limit=1)
    load("cifar100", "validation", "packaged", None, registry, limit=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"module": "no_such_package"}, "foolbox is not installed"), ({"folder": "elsewhere"}, "is missing; foolbox")],
)
def test_missing_packages_and_files(tmp_path: Path, change: dict[str, str], message: str) -> None:
    registry = edited_registry(
        tmp_path / "datasets.yaml", lambda sets: sets["cifar10"]["sources"]["packaged"]["packages"][0].update(change)
    )
    with pytest.raises(SettingsError, match=message):
        load("cifar10", "validation", "packaged", None, registry)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar11", "validation", "packaged"), "unknown data set 'cifar11'; nearest: 'cifar10'"),
        (("cifar10", "valid", "packaged"), "unknown split 'valid'; nearest: 'validation'"),
        (("cifar10", "validation", "folders"), "unknown source 'folders'; nearest: 'folder'"),
        (("cifar10", "train", "packaged"), "no train images of cifar10; these have: torchvision, folder"),
        (("photos10", "train", "folder"), "no train images of photos10; these have: packaged"),
        (("cifar10", "train", "folder"), "source 'folder' needs the folder"),
    ],
)
def test_what_cannot_be_had(arguments: tuple[str, str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(*arguments, None, PACKAGED)


def test_selection_by_index() -> None:
    everything = load("cifar10", "validation", "packaged", None, PACKAGED)
    some = load("cifar10", "validation", "packaged", None, PACKAGED, indices=[7, 2])
    assert some.index.tolist() == [7, 2]
    assert some.labels.tolist() == everything.labels[[7, 2]].tolist()
    assert torch.equal(some.images, everything.images[[7, 2]])
    with pytest.raises(SettingsError, match="no image has index 23; nearest: 19"):
        load("cifar10", "validation", "packaged", None, PACKAGED, indices=[3, 23])
    with pytest.raises(SettingsError, match="exclude each other"):
        load("cifar10", "validation", "packaged", None, PACKAGED, limit=1, indices=[3])
    with pytest.raises(SettingsError, match="limit 0"):
        load("cifar10", "validation", "packaged", None, PACKAGED, limit=0)


# Folders


def test_folder_order_labels_and_encodings(tmp_path: Path) -> None:
    write(tmp_path / "cifar10/test/ship", "10_ship.png", seed=10)
    write(tmp_path / "cifar10/test/bird", "2_bird.png", seed=2)
    write(tmp_path / "cifar10/test/ship", "0_ship.JPG", seed=0)
    (tmp_path / "cifar10/test/ship/notes.txt").write_text("no image")
    split = load("cifar10", "validation", "folder", tmp_path, PACKAGED)
    assert split.index.tolist() == [0, 2, 10]
    assert split.labels.tolist() == [8, 2, 8]
    assert split.source == "image folder (1 JPEG copies, 2 lossless)"
    assert split.lossy.tolist() == [True, False, False]
    for row, seed in ((1, 2), (2, 10)):
        assert (pixels(split, row) == np.asarray(noise(seed))).all()
    last = load("cifar10", "validation", "folder", tmp_path, PACKAGED, indices=[10])
    assert torch.equal(last.images, split.images[2:])
    assert last.source == "image folder (0 JPEG copies, 1 lossless)"
    assert last.lossy.tolist() == [False]


def test_only_what_is_asked_for_is_decoded(tmp_path: Path) -> None:
    write(tmp_path / "cifar10/train/cat", "0_cat.png")
    damaged = tmp_path / "cifar10/train/cat/1_cat.png"
    damaged.write_bytes(b"not an image")
    assert len(load("cifar10", "train", "folder", tmp_path, PACKAGED, limit=1).images) == 1
    with pytest.raises(SettingsError, match=r"1_cat\.png: not a readable image"):
        load("cifar10", "train", "folder", tmp_path, PACKAGED)


def test_transparent_images_of_a_folder_are_counted_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        folder = write(tmp_path / "cifar10/test/cat", f"{number}_cat.png", number).parent
    Image.new("LA", (32, 32), (0, 127)).save(folder / "3_cat.png")
    Image.new("RGBA", (32, 32), (1, 2, 3, 0)).save(folder / "4_cat.png")
    split = load("cifar10", "validation", "folder", tmp_path, PACKAGED)
    assert capsys.readouterr().out == "2 of 5 images have transparent pixels, which are shown on white\n"
    assert split.images[3].unique().tolist() == [128]
    assert split.images[4].unique().tolist() == [255]
    load("cifar10", "validation", "folder", tmp_path, PACKAGED, limit=3)
    assert not capsys.readouterr().out


def test_a_list_beside_the_splits_gives_the_class_order(tmp_path: Path) -> None:
    registry = small_registry(tmp_path / "datasets.yaml")
    for name in ("ant", "bee"):
        write(tmp_path / f"toy/val/{name}", f"{name}.png")
    with pytest.raises(SettingsError, match=r"2 classes, toy has 3; name all of them, in order, in .*classes\.txt"):
        load("toy", "validation", "folder", tmp_path, registry)
    (tmp_path / "toy/classes.txt").write_text("bee\nwasp\nant\n")
    split = load("toy", "validation", "folder", tmp_path, registry)
    assert split.labels.tolist() == [0, 2]
    assert split.index.tolist() == [0, 1]
    (tmp_path / "toy/classes.txt").write_bytes("Käfer\nwasp\nant\n".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"classes\.txt: not UTF-8"):
        load("toy", "validation", "folder", tmp_path, registry)
    (tmp_path / "toy/classes.txt").write_text("bee\nwasp\nant\n")
    write(tmp_path / "toy/val/fly", "fly.png")
    with pytest.raises(SettingsError, match="'fly' is no class of toy"):
        load("toy", "validation", "folder", tmp_path, registry)


def test_without_a_list_the_alphabet_gives_the_class_order(tmp_path: Path) -> None:
    registry = small_registry(tmp_path / "datasets.yaml")
    for number, name in enumerate(("wasp", "ant", "bee")):
        write(tmp_path / f"toy/validation/{name}", f"{number}_x.png")
    assert load("toy", "validation", "folder", tmp_path, registry).labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("5_b.png", "has the same number as"),
        ("five.png", "no number before the first underscore"),
    ],
)
def test_ambiguous_numbers(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path / "cifar10/train/cat", "5_a.png")
    write(tmp_path / "cifar10/train/dog", name)
    with pytest.raises(SettingsError, match=message):
        load("cifar10", "train", "folder", tmp_path, PACKAGED)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no folder test or val or validation with validation images of cifar10"):
        load("cifar10", "validation", "folder", tmp_path, PACKAGED)
    (tmp_path / "cifar10/val").mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"no \.jpg or \.jpeg or \.png file"):
        load("cifar10", "validation", "folder", tmp_path, PACKAGED)


def test_a_wrong_size_is_refused_where_nothing_is_resized(tmp_path: Path) -> None:
    write(tmp_path / "cifar10/train/cat", "0_cat.png", width=33)
    with pytest.raises(SettingsError, match=r"0_cat\.png: 33x32 pixels, not 32x32"):
        load("cifar10", "train", "folder", tmp_path, PACKAGED)


@pytest.mark.parametrize(("width", "height"), [(500, 375), (235, 360), (301, 301), (225, 1000), (259, 256), (224, 224)])
def test_resizing_is_that_of_torchvision(tmp_path: Path, width: int, height: int) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize

    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet/wnids.txt").write_text("\n".join(f"n{number}" for number in range(1000)))
    image = Image.open(write(tmp_path / "imagenet/val/n7", "0_a.png", width=width, height=height))
    expected = image if image.size == (224, 224) else Compose([Resize(256), CenterCrop(224)])(image)
    split = load("imagenet", "validation", "folder", tmp_path, PACKAGED)
    assert split.labels.tolist() == [7]
    assert (pixels(split, 0) == np.asarray(expected)).all()


# torchvision's files


def test_torchvision_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    images = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    contents = {
        "test_batch": {"data": images.reshape(6, -1), "labels": [5, 1, 4, 1, 5, 9]},
        "batches.meta": {"label_names": [str(label) for label in range(10)]},
    }
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
    md5 = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in contents}
    monkeypatch.setattr(CIFAR10, "train_list", [])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})
    split = load("cifar10", "validation", "torchvision", tmp_path, PACKAGED, indices=[2, 5])
    assert split.labels.tolist() == [4, 9]
    assert split.index.tolist() == [2, 5]
    assert (split.images.numpy() == images[[2, 5]]).all()
    assert split.images.is_contiguous()
    assert "lossless" in split.source


def test_a_failed_download_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR100

    def fail(self: CIFAR100) -> None:
        raise URLError("no network")

    monkeypatch.setattr(CIFAR100, "download", fail)
    with pytest.raises(
        SettingsError, match=rf"{tmp_path}: put cifar-100-python\.tar\.gz here \(from https.*no network"
    ):
        load("cifar100", "train", "torchvision", tmp_path, PACKAGED)


def test_torchvision_imagenet_is_numbered_class_by_class_and_has_to_be_complete(tmp_path: Path) -> None:
    def shrink(datasets: dict) -> None:
        datasets["imagenet"].update(classes=2, size=32, images={"validation": 3})

    registry = edited_registry(tmp_path / "datasets.yaml", shrink)
    for wnid, number, seed in (("n02", 1, 0), ("n01", 3, 1), ("n01", 2, 2)):
        write(tmp_path / "imagenet/val" / wnid, f"ILSVRC2012_val_{number:08}.png", seed)
    split = load("imagenet", "validation", "torchvision", tmp_path, registry, indices=[0, 2])
    assert split.labels.tolist() == [0, 1]
    assert (pixels(split, 0) == np.asarray(noise(2))).all()
    (tmp_path / "imagenet/val/n01/ILSVRC2012_val_00000003.png").unlink()
    with pytest.raises(SettingsError, match=r"2 of 3 validation images .* nearest: source 'folder'"):
        load("imagenet", "validation", "torchvision", tmp_path, registry)


# photos10


def photographs() -> list[Path]:
    return [file for package in describe("photos10", PACKAGED).sources["packaged"].packages for file in package.paths()]


def test_photos10_shapes_and_order() -> None:
    train = load("photos10", "train", "packaged", None, PACKAGED)
    validation = load("photos10", "validation", "packaged", None, PACKAGED)
    assert train.images.shape == (5000, 3, 32, 32)
    assert validation.images.shape == (200, 3, 32, 32)
    for split in (train, validation):
        assert split.labels.tolist() == [index % 10 for index in range(len(split.labels))]
        assert split.index.tolist() == list(range(len(split.labels)))
    assert describe("photos10", PACKAGED).class_names == tuple(file.stem for file in photographs())
    values = train.images.numpy() / 255
    for split in (train, validation):
        assert split.mean == pytest.approx(values.mean(axis=(0, 2, 3)))
        assert split.std == pytest.approx(values.std(axis=(0, 2, 3)))


def test_photos10_pixels_are_used_in_one_split_only() -> None:
    settings = describe("photos10", PACKAGED)
    assert settings.crops is not None
    for file in photographs():
        photo = Image.open(file).convert("RGB")
        used = {}
        for split in ("train", "validation"):
            used[split] = np.zeros((photo.height, photo.width), dtype=bool)
            for left, top, right, bottom in (
                box for box, _ in cut(settings.crops, photo, split, 40, settings.size, file.name)
            ):
                used[split][top:bottom, left:right] = True
        assert used["train"].any()
        assert used["validation"].any()
        assert not (used["train"] & used["validation"]).any()


def test_photos10_is_the_same_every_time_and_depends_on_the_seed(tmp_path: Path) -> None:
    def images(seed: int) -> torch.Tensor:
        def fewer(datasets: dict) -> None:
            datasets["photos10"]["images"] = {"train": 20, "validation": 20}
            datasets["photos10"]["crops"]["seed"] = seed

        photo_crops.cache_clear()
        registry = edited_registry(tmp_path / "datasets.yaml", fewer)
        return load("photos10", "validation", "packaged", None, registry).images

    assert torch.equal(images(0), images(0))
    assert not torch.equal(images(0), images(1))
    whole = load("photos10", "validation", "packaged", None, PACKAGED, limit=20)
    assert torch.equal(images(0), whole.images)


@settings(max_examples=30, deadline=None)
@given(
    width=st.integers(60, 200),
    height=st.integers(120, 200),
    share=st.floats(0.4, 0.6),
    largest=st.floats(0.4, 1),
    seed=st.integers(0, 10),
)
def test_crops_show_their_window_and_nothing_of_the_other_split(
    width: int, height: int, share: float, largest: float, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    border = round(share * height)
    values[:border, :, 0] = 0
    values[border:, :, 2] = 0
    photo = Image.fromarray(values)
    crops = Crops(train_share=share, smallest=16, largest=largest, contrast=0, seed=seed)
    for split, dark in (("train", 0), ("validation", 2)):
        for (left, top, right, bottom), crop in cut(crops, photo, split, 10, 16, "photo"):
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert 16 <= right - left == bottom - top <= largest * min(width, height)
            shown = np.asarray(crop).astype(float)
            assert (shown[..., dark] == 0).all()
            if right - left == 16:
                assert (shown == values[top:bottom, left:right]).all()
            assert shown.mean() == pytest.approx(values[top:bottom, left:right].mean(), abs=15)


def test_crops_of_little_contrast_are_left_out() -> None:
    values = np.asarray(noise(0, 200, 200)).copy()
    values[:, :100] = 90
    crops = Crops(train_share=0.5, smallest=20, largest=0.2, contrast=0.1, seed=0)
    boxes = [box for box, _ in cut(crops, Image.fromarray(values), "train", 50, 20, "half")]
    assert all(right > 100 for _, _, right, _ in boxes)
    with pytest.raises(SettingsError, match="flat: hardly any train window"):
        cut(crops, Image.new("RGB", (200, 200), (200, 90, 30)), "train", 2, 20, "flat")
    with pytest.raises(SettingsError, match="small: no validation window of 20 pixels fits; nearest: 10"):
        cut(crops, noise(0, 50, 50), "validation", 2, 20, "small")


# Selection of what clients hold


def released_walk(labels: list[int], start: int, count: int, images: int) -> list[list[int]]:
    """The released code's loop: walk on from `start`, skip a label that the client already has."""
    held, position = [], start
    for _ in range(count):
        taken: list[int] = []
        while len(taken) < images:
            if labels[position] not in [labels[other] for other in taken]:
                taken.append(position)
            position += 1
        held.append(taken)
    return held


@given(st.data())
def test_clients_are_those_of_the_released_walk(draw: st.DataObject) -> None:
    labels = draw.draw(st.lists(st.integers(0, 4), min_size=1, max_size=60))
    start, count, images = (draw.draw(st.integers(low, high)) for low, high in ((0, 5), (1, 5), (1, 4)))
    split = labelled(labels)
    try:
        expected = released_walk(labels, start, count, images)
    except IndexError:
        with pytest.raises(
            SettingsError, match=rf"enough for (\d) clients of {images} images of distinct labels"
        ) as error:
            clients(split, start=start, count=count, images_per_client=images, distinct_labels=True)
        possible = int(str(error.value).split("enough for ")[1].split()[0])
        assert possible < count
        if possible:
            assert clients(
                split, start=start, count=possible, images_per_client=images, distinct_labels=True
            ) == released_walk(labels, start, possible, images)
    else:
        assert clients(split, start=start, count=count, images_per_client=images, distinct_labels=True) == expected


def test_clients_without_distinct_labels_hold_consecutive_images() -> None:
    split = labelled([1, 1, 1, 2, 2, 3, 3])
    assert clients(split, start=1, count=2, images_per_client=3, distinct_labels=False) == [[1, 2, 3], [4, 5, 6]]
    assert clients(split, start=0, count=2, images_per_client=2, distinct_labels=True) == [[0, 3], [4, 5]]
    for distinct in (False, True):
        assert clients(split, start=2, count=4, images_per_client=1, distinct_labels=distinct) == [[2], [3], [4], [5]]
    with pytest.raises(SettingsError, match="6 images from 1 on are enough for 2 clients of 3 images, not for 3"):
        clients(split, start=1, count=3, images_per_client=3, distinct_labels=False)


def test_clients_count_positions_of_the_published_split() -> None:
    split = labelled([0, 1, 2, 3, 4, 5], first=10)
    settings = {"images_per_client": 1, "distinct_labels": True}
    assert clients(split, start=11, count=3, every=2, **settings) == [[1], [3], [5]]
    assert clients(split, indices=[15, 10], count=2, **settings) == [[5], [0]]
    with pytest.raises(SettingsError, match="no image has index 3; nearest: 10"):
        clients(split, indices=[3], count=1, **settings)
    with pytest.raises(SettingsError, match="2 images at the given positions are enough for 2 clients"):
        clients(split, indices=[15, 10], count=3, **settings)


def test_the_first_source_that_is_there_is_found(tmp_path: Path) -> None:
    assert find_source("cifar10", ["validation"], ["folder", "packaged"], tmp_path) == "packaged"
    assert find_source("cifar10", ["train", "validation"], ["folder", "torchvision"], tmp_path) == "torchvision"
    assert find_source("imagenet", ["validation"], ["torchvision"], tmp_path) is None
    (tmp_path / "cifar10/train").mkdir(parents=True)
    assert find_source("cifar10", ["train", "validation"], ["folder", "torchvision"], tmp_path) == "torchvision"
    (tmp_path / "cifar10/test").mkdir()
    assert find_source("cifar10", ["train", "validation"], ["folder", "torchvision"], tmp_path) == "folder"
    with pytest.raises(SettingsError, match="source 'packaged' has no train images of cifar10"):
        find_source("cifar10", ["train"], ["packaged"], tmp_path)
    with pytest.raises(SettingsError, match="unknown source 'web'; nearest"):
        find_source("cifar10", ["train"], ["web", "folder"], tmp_path)


@pytest.mark.parametrize(("start", "count", "images"), [(-1, 1, 1), (0, 0, 1), (0, 1, 0)])
def test_clients_refuses_impossible_numbers(start: int, count: int, images: int) -> None:
    with pytest.raises(SettingsError, match="at least 0, 1, 1 and 1 are needed"):
        clients(labelled([0, 1]), start=start, count=count, images_per_client=images, distinct_labels=False)


# Coordinates and files


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalising_there_and_back(dtype: torch.dtype) -> None:
    split = labelled([0, 1, 2])
    normalised = normalise(split.images, split.mean, split.std, dtype, "cpu")
    assert normalised.dtype == dtype
    value = split.images[1, 2, 3, 4].item() / 255
    assert normalised[1, 2, 3, 4].item() == pytest.approx((value - 0.3) / 0.3, abs=1e-6)
    back = denormalise(normalised, split.mean, split.std)
    torch.testing.assert_close(back, to_unit(split.images, dtype, "cpu"))
    assert torch.equal((back * 255).round().to(torch.uint8), split.images)


def test_denormalise_does_not_clamp() -> None:
    assert denormalise(torch.full((1, 3, 1, 1), 10.0), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)).max() == pytest.approx(2.5)


def test_save_and_read(tmp_path: Path) -> None:
    split = replace(labelled([3, 1, 2]), source="somewhere, über «quotes»")
    save_split(split, tmp_path / "split.safetensors")
    back = read_split(tmp_path / "split.safetensors")
    for name, value in vars(split).items():
        other = getattr(back, name)
        assert type(other) is type(value)
        assert torch.equal(other, value) and other.dtype == value.dtype if name in TENSORS else other == value


def test_reading_something_else(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "text").write_bytes(random.Random(0).randbytes(200))
    save_file({"images": torch.zeros(1)}, tmp_path / "tensors")
    write_tensors(tmp_path / "others", {"images": torch.zeros(1)}, {})
    for name, words in dict.fromkeys(("missing", "text", "tensors"), "result file").items() | {
        ("others", "saved split")
    }:
        with pytest.raises(SettingsError, match=rf"{name}: not a {words}"):
            read_split(tmp_path / name)


def test_the_registry_is_closed(tmp_path: Path) -> None:
    registry = small_registry(tmp_path / "datasets.yaml", class_name=["a"])
    with pytest.raises(SettingsError, match="unknown key 'class_name'; nearest: 'class_names'"):
        describe("toy", registry)
    with pytest.raises(SettingsError, match="2 class_names for 3 classes"):
        describe("toy", small_registry(registry, class_names=["a", "b"]))


def test_a_project_adds_data_sets_and_replaces_those_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    packaged = describe("cifar10")
    with pytest.raises(SettingsError, match="unknown data set 'toy'"):
        describe("toy")
    Path("data").mkdir()
    small_registry(Path("data/datasets.yaml"))
    assert (describe("toy").classes, describe("cifar10")) == (3, packaged)

    def shrink(datasets: dict) -> None:
        datasets["cifar10"]["images"]["validation"] = 20

    edited_registry(Path("data/datasets.yaml"), shrink)
    assert describe("cifar10").images["validation"] == 20
