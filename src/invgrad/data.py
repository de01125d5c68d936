"""Images of every data set of the experiments, from whichever source is at hand, as one in-memory type.

A source lists what it has of a split without decoding anything; `load` then decodes only the images that are wanted.
What each data set is and who can supply it is written in the registry: `datasets.yaml` beside this module, to which a
project adds in `data/datasets.yaml`.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self, cast, get_args

import numpy as np
import torch
from PIL import Image
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from invgrad.results import read_tensors, write_tensors
from invgrad.seeds import generator
from invgrad.settings import Settings, SettingsError, parse, read_yaml, unknown

SplitName = Literal["train", "validation"]
SourceName = Literal["packaged", "torchvision", "folder"]
Channels = tuple[float, float, float]
Box = tuple[int, int, int, int]

PACKAGED = Path(__file__).with_name("datasets.yaml")
REGISTRY = Path("data/datasets.yaml")
"""A project's additions to it."""
SPLIT_FOLDERS: dict[SplitName, tuple[str, ...]] = {"train": ("train",), "validation": ("test", "val", "validation")}
TENSORS = ("images", "labels", "index")
CLASS_LISTS = ("wnids.txt", "classes.txt")
LOSSY = (".jpg", ".jpeg")
LOSSLESS = (".png",)


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one split of a data set. Compared by identity, as tensors have no single equality."""

    dataset: str
    split: SplitName
    source: str
    """One sentence for a reader: where the images came from."""
    lossy: bool
    """True if JPEG copies, which are not exactly the published images, are among them."""
    images: Tensor
    """uint8 [n, 3, height, width], RGB."""
    labels: Tensor
    """int64 [n], in 0..classes-1."""
    index: Tensor
    """int64 [n], the position of each image in the full published split (of packaged ImageNet: the sample's number)."""
    classes: int
    mean: Channels
    """Per channel, over the data set's training images with values in [0, 1]; `std` likewise."""
    std: Channels


class Package(Settings):
    """Image files that come with an installed package."""

    module: str
    distribution: str
    version: str
    folder: str
    files: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    """sha256 by file name."""

    def paths(self) -> list[Path]:
        """The files, in the order of the registry. `SettingsError` if one is missing or differs from its checksum."""
        # find_spec does not execute the package, whose import can take seconds
        spec = find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise SettingsError(
                f"{self.distribution} is not installed; its version {self.version} has the files needed"
            )
        folder = Path(spec.submodule_search_locations[0]) / self.folder
        return [self._checked(folder / name, checksum) for name, checksum in self.files.items()]

    def _checked(self, file: Path, checksum: str) -> Path:
        if not file.is_file():
            raise SettingsError(f"{file} is missing; {self.distribution} {self.version} has it")
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != checksum:
            raise SettingsError(f"{file}: sha256 is {found}, not {checksum} as in {self.distribution} {self.version}")
        return file


class Supply(Settings):
    """What one source has of a data set."""

    origin: str
    splits: tuple[SplitName, ...]
    packages: tuple[Package, ...] = ()

    def sentence(self, files: Sequence[Path]) -> str:
        """Where these images come from, for a reader; `files` as far as they were decoded from image files."""
        words = [self.origin]
        if self.packages:
            words.append(" and ".join(f"{package.distribution} {package.version}" for package in self.packages))
        if files:
            lossy = sum(map(_is_lossy, files))
            words.append(f"({lossy} JPEG copies, {len(files) - lossy} lossless)")
        return " ".join(words)


class Statistics(Settings):
    """Mean and standard deviation per channel, of values in [0, 1], and where they were taken from."""

    mean: Channels
    std: Channels
    origin: str


class Crops(Settings):
    """How photographs become a data set of square crops."""

    train_share: float = Field(gt=0, lt=1)
    """Training crops lie above this share of the height, validation crops below it."""
    smallest: PositiveInt
    """Least side of a window, in pixels of the photograph."""
    largest: float = Field(gt=0, le=1)
    """Greatest side of a window, as a share of the photograph's shorter side."""
    contrast: float = Field(ge=0, le=0.5)
    """Least standard deviation over the pixels of a crop, mean over channels, of values in [0, 1]: a black background
    identifies nothing."""
    seed: int


class Dataset(Settings):
    """An entry of the registry."""

    classes: PositiveInt
    class_names: tuple[str, ...] = ()
    """In class order; empty: a list beside the images, or the alphabet, gives the order."""
    size: PositiveInt
    """Height and width of an image, in pixels."""
    resize: PositiveInt | None = None
    """Images of another size are resized to this shorter side, then cropped at the centre; None: there are none."""
    images: dict[SplitName, PositiveInt]
    """How many images the full split has."""
    statistics: Statistics | None = None
    """None: those of the training images of the same source."""
    crops: Crops | None = None
    """Only for photographs to cut up, one class a photograph."""
    sources: dict[SourceName, Supply]

    @model_validator(mode="after")
    def _a_name_for_every_class(self) -> Self:
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(f"{len(self.class_names)} class_names for {self.classes} classes")
        return self


class _Registry(Settings):
    datasets: dict[str, Dataset]


@dataclass(frozen=True)
class Listing:
    """What a source has of a split, in index order; images in memory (uint8 [n, 3, size, size]) or files to decode."""

    index: Sequence[int]
    labels: Sequence[int]
    images: Tensor | list[Path]


Source = Callable[[str, Dataset, SplitName, Path | None], Listing]


def describe(dataset: str, registry: Path = REGISTRY) -> Dataset:
    """The registry's entry of a data set, the project's before the package's; `SettingsError` if there is none or the
    registry is not valid.
    """
    datasets: dict[str, Dataset] = {}
    for path in filter(Path.exists, (PACKAGED, registry)):
        datasets |= _datasets(path, path.stat().st_mtime_ns)
    if dataset not in datasets:
        raise SettingsError(unknown("data set", dataset, datasets))
    return datasets[dataset]


@lru_cache(maxsize=4)
def _datasets(registry: Path, _: int) -> dict[str, Dataset]:
    """Of a registry as it was at this time: a plan asks hundreds of times."""
    return parse(_Registry, read_yaml(registry), str(registry)).datasets


def load(
    dataset: str,
    split: str,
    source: str,
    root: Path | None,
    registry: Path = REGISTRY,
    limit: int | None = None,
    indices: Sequence[int] | None = None,
) -> Split:
    """Images of a split of a data set.

    `root` is the folder of the user's data sets; the packaged source needs none. Either `limit` takes the first images
    (all, if there are fewer), or `indices` takes those at these positions of the published split, in this order.
    `SettingsError` for unknown names, a source that lacks the split, files that are missing or damaged.
    """
    data = describe(dataset, registry)
    name = _split_name(split)
    supplier = _source_name(dataset, data, source, name)
    listing = SOURCES[supplier](dataset, data, name, root)
    rows = _rows(listing.index, limit, indices, f"{dataset} {split} from source '{source}'")
    if isinstance(listing.images, Tensor):
        files, images = [], listing.images[rows].contiguous()
    else:
        files = [listing.images[row] for row in rows]
        images = _decode(files, data)
    mean, std = _statistics(dataset, data, supplier, root)
    return Split(
        dataset=dataset,
        split=name,
        source=data.sources[supplier].sentence(files),
        lossy=any(map(_is_lossy, files)),
        images=images,
        labels=torch.tensor([listing.labels[row] for row in rows], dtype=torch.int64),
        index=torch.tensor([listing.index[row] for row in rows], dtype=torch.int64),
        classes=data.classes,
        mean=mean,
        std=std,
    )


def _is_lossy(file: Path) -> bool:
    return file.suffix.lower() in LOSSY


def save_split(split: Split, path: Path) -> None:
    """Write a split as one safetensors file, everything that is not a tensor as JSON in its metadata."""
    values = dict(vars(split))
    write_tensors(path, {key: values.pop(key) for key in TENSORS}, values)


def read_split(path: Path) -> Split:
    """A split that `save_split` wrote; `SettingsError` if the file is missing or something else."""
    tensors, values = read_tensors(path)
    try:
        return Split(**values | tensors | {key: tuple(values[key]) for key in ("mean", "std")})
    except (KeyError, TypeError) as error:
        raise SettingsError(f"{path}: not a saved split: {error}") from None


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
    """Rows, in the split's tensors, of the images that each of `count` clients holds.

    Clients take their images one after another: those at the positions `indices` of the published split, or every
    `every`-th from position `start` on, as far as the split has them; with `distinct_labels` the next ones whose label
    the client does not hold yet (as the released code does). `SettingsError` if images run out.
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
    """The rows that clients may take, in order."""
    row_of = {position: row for row, position in enumerate(split.index.tolist())}
    if indices is None:
        return [row for position, row in row_of.items() if position >= start and (position - start) % every == 0]
    return _at(row_of, indices, f"{split.dataset} {split.split}")


def to_unit(images: Tensor, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """uint8 images as values in [0, 1]."""
    return images.to(device=device, dtype=dtype) / 255


def normalise(images: Tensor, mean: Channels, std: Channels, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """uint8 images [n, 3, h, w] in the coordinates that networks take: (value in [0, 1] - mean) / std per channel."""
    return standardise(to_unit(images, dtype, device), mean, std)


def standardise(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    """Images with values in [0, 1] in the coordinates that networks take."""
    return (images - _per_channel(mean, images.dtype, images.device)) / _per_channel(std, images.dtype, images.device)


def denormalise(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    """The inverse of `normalise`, up to `to_unit`; values outside [0, 1] are not clamped."""
    return images * _per_channel(std, images.dtype, images.device) + _per_channel(mean, images.dtype, images.device)


def read_image(path: Path, *, height: int, width: int) -> Tensor:
    """A picture as uint8 [3, height, width]; `SettingsError` if the file is not a picture of that size."""
    image = _opened(path)
    if image.size != (width, height):
        raise SettingsError(f"{path}: {image.width}x{image.height} pixels, not {width}x{height}")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def fit_image(path: Path, *, size: int, resize: int | None) -> tuple[Tensor, str]:
    """A picture of any size as uint8 [3, size, size], and in words what was done to it (nothing: "").

    Its shorter side becomes `resize` pixels (None: `size`), then the centre is cut out, bilinear as by torchvision's
    `Resize` and `CenterCrop`. `SettingsError` if the file is not a picture.
    """
    width, height = _opened(path).size
    side = resize or size
    change = f"{width}x{height} pixels, shorter side resized to {side}, centre cropped to {size}x{size}"
    pixels = torch.from_numpy(_pixels(path, size, side)).permute(2, 0, 1)
    return pixels, "" if (width, height) == (size, size) else change


def cut(
    crops: Crops, photo: Image.Image, split: SplitName, count: int, size: int, name: str
) -> list[tuple[Box, Image.Image]]:
    """`count` windows (left, top, right, bottom) of a photograph and what they show, area-averaged to size×size.

    Sides and places are uniform, drawn from the settings' `seed`, the split and the photograph's `name`; windows of too
    little contrast are drawn again. No pixel is in windows of both splits. `SettingsError` if nearly no window will do.
    """
    border = round(crops.train_share * photo.height)
    top, bottom = (0, border) if split == "train" else (border, photo.height)
    largest = min(int(crops.largest * min(photo.size)), bottom - top)
    if largest < crops.smallest:
        raise SettingsError(f"{name}: no {split} window of {crops.smallest} pixels fits; nearest: {largest}")
    random = generator(crops.seed, split, name)
    kept: list[tuple[Box, Image.Image]] = []
    for _ in range(100 * count):
        side = _uniform(crops.smallest, largest, random)
        x, y = _uniform(0, photo.width - side, random), _uniform(top, bottom - side, random)
        box = (x, y, x + side, y + side)
        crop = photo.crop(box).resize((size, size), Image.Resampling.BOX)
        if np.asarray(crop).std(axis=(0, 1)).mean() >= 255 * crops.contrast:
            kept.append((box, crop))
        if len(kept) == count:
            return kept
    raise SettingsError(f"{name}: hardly any {split} window has a contrast of {crops.contrast}")


def _packaged(dataset: str, data: Dataset, split: SplitName, root: Path | None) -> Listing:
    files = [path for package in data.sources["packaged"].packages for path in package.paths()]
    if data.crops:
        images = _photo_crops(tuple(files), data.crops, split, data.images[split] // data.classes, data.size)
        return Listing(range(len(images)), [row % data.classes for row in range(len(images))], images)
    numbers = [file.stem.split("_")[-2:] for file in files]
    return _in_order([(int(index), int(label), file) for (index, label), file in zip(numbers, files, strict=True)])


def _in_order(found: list[tuple[int, int, Path]]) -> Listing:
    """The listing of (index, label, file) in any order."""
    index, labels, files = zip(*sorted(found), strict=True)
    return Listing(index, labels, list(files))


@lru_cache(maxsize=4)
def _photo_crops(photos: tuple[Path, ...], crops: Crops, split: SplitName, per_class: int, size: int) -> Tensor:
    """Crops [per_class · photos, 3, size, size], classes interleaved."""
    images = torch.empty(per_class, len(photos), size, size, 3, dtype=torch.uint8)
    for label, file in enumerate(photos):
        for row, (_, crop) in enumerate(cut(crops, _opened(file), split, per_class, size, file.name)):
            images[row, label] = torch.from_numpy(np.array(crop))
    return images.flatten(0, 1).permute(0, 3, 1, 2)


def _torchvision(dataset: str, data: Dataset, split: SplitName, root: Path | None) -> Listing:
    if dataset == "imagenet":
        return _whole_folder(dataset, data, split, root)
    # imported here because it takes seconds and the other sources do without
    from torchvision import datasets

    archive = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset]
    folder = _needed(root, "torchvision")
    try:
        content = archive(folder, train=split == "train", download=True)
    except (OSError, RuntimeError) as error:
        raise SettingsError(
            f"{folder}: put {archive.filename} here (from {archive.url}); it could not be downloaded: {error}"
        ) from None
    return Listing(range(len(content.data)), content.targets, torch.from_numpy(content.data).permute(0, 3, 1, 2))


def _whole_folder(dataset: str, data: Dataset, split: SplitName, root: Path | None) -> Listing:
    """A complete image folder, numbered as by torchvision: class by class, then by file name.

    The released code's indices count so: with 50 images a class, 8112 is in class 162, the beagle.
    """
    listing = _folder(dataset, data, split, _needed(root, "torchvision"))
    if len(listing.index) != data.images[split]:
        raise SettingsError(
            f"{dataset}: {len(listing.index)} of {data.images[split]} {split} images are in {root}, so their positions "
            "are unknown; nearest: source 'folder', which numbers what is there"
        )
    return listing


def _folder(dataset: str, data: Dataset, split: SplitName, root: Path | None) -> Listing:
    base = _needed(root, "folder") / dataset
    names = SPLIT_FOLDERS[split]
    folder = next((base / name for name in names if (base / name).is_dir()), None)
    if folder is None:
        raise SettingsError(f"{base}: no folder {' or '.join(names)} with {split} images of {dataset}")
    listed = [
        (label, file)
        for name, label in _class_order(base, folder, dataset, data).items()
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in LOSSY + LOSSLESS
    ]
    if not listed:
        raise SettingsError(f"{folder}: no {' or '.join(LOSSY + LOSSLESS)} file in the class folders")
    positions = _positions([file for _, file in listed])
    return _in_order([(position, label, file) for position, (label, file) in zip(positions, listed, strict=True)])


def _class_order(base: Path, folder: Path, dataset: str, data: Dataset) -> dict[str, int]:
    """The label of every class folder that is there, in label order."""
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    listed = next((base / name for name in CLASS_LISTS if (base / name).is_file()), None)
    names = data.class_names or (listed.read_text().strip().splitlines() if listed else found)
    if len(names) != data.classes:
        raise SettingsError(
            f"{listed or folder}: {len(names)} classes, {dataset} has {data.classes}; "
            f"name all of them, in order, in {base / CLASS_LISTS[-1]}"
        )
    labels = {name: label for label, name in enumerate(names) if name in found}
    if stray := sorted(set(found) - set(names)):
        raise SettingsError(f"{folder / stray[0]}: '{stray[0]}' is no class of {dataset}")
    return labels


def _positions(files: list[Path]) -> list[int]:
    """The number before the first underscore of every name; where no name has one, the order of the files."""
    matches = [re.match(r"(\d+)_", file.name) for file in files]
    if not any(matches):
        return list(range(len(files)))
    owners: dict[int, Path] = {}
    for file, match in zip(files, matches, strict=True):
        if match is None:
            raise SettingsError(f"{file}: no number before the first underscore, but other images have one")
        other = owners.setdefault(int(match[1]), file)
        if other != file:
            raise SettingsError(f"{file}: has the same number as {other}")
    return list(owners)


SOURCES: dict[SourceName, Source] = {"packaged": _packaged, "torchvision": _torchvision, "folder": _folder}


def available(dataset: str, split: str, source: str, registry: Path = REGISTRY) -> int:
    """How many images a source has of a split, from the registry alone; `SettingsError` if it has none."""
    data = describe(dataset, registry)
    name = _split_name(split)
    supply = data.sources[_source_name(dataset, data, source, name)]
    samples = 0 if data.crops else sum(len(package.files) for package in supply.packages)
    return samples or data.images[name]


def find_source(
    dataset: str, splits: Iterable[str], wanted: Sequence[str], root: Path, registry: Path = REGISTRY
) -> SourceName | None:
    """The first of the wanted sources that is there with these splits; None if data has to be put somewhere first.

    Archives that torchvision downloads count as there. `SettingsError` if no wanted source could have the splits.
    """
    data, names = describe(dataset, registry), [_split_name(split) for split in splits]
    able = [cast(SourceName, source) for source in wanted if set(names) <= set(_supplied(data, source))]
    if not able:
        for name in names:
            _source_name(dataset, data, wanted[-1], name)
        raise SettingsError(f"no source has all of {', '.join(names)}; give another than {', '.join(wanted)}")
    there = (source for source in able if all(_is_there(dataset, name, source, root) for name in names))
    return next(there, None)


def what_to_put_where(dataset: str, splits: Iterable[str], wanted: Sequence[str], root: Path) -> str:
    """For a reader whose data is not found: one line."""
    data = describe(dataset)
    origins = " or ".join(data.sources[cast(SourceName, source)].origin for source in wanted)
    folders = " and ".join(" or ".join(SPLIT_FOLDERS[_split_name(split)]) for split in sorted(splits))
    return f"put {origins} into {root / dataset}, in the folder {folders} with a folder for each class"


def _supplied(data: Dataset, source: str) -> tuple[SplitName, ...]:
    supply = data.sources.get(_known_source(source))
    return supply.splits if supply else ()


def _is_there(dataset: str, split: SplitName, source: str, root: Path) -> bool:
    downloaded = source == "torchvision" and dataset != "imagenet"
    folders = (root / dataset / name for name in SPLIT_FOLDERS[split])
    return source == "packaged" or downloaded or any(folder.is_dir() for folder in folders)


def _split_name(split: str) -> SplitName:
    if split not in get_args(SplitName):
        raise SettingsError(unknown("split", split, get_args(SplitName)))
    return cast(SplitName, split)


def _source_name(dataset: str, data: Dataset, source: str, split: SplitName) -> SourceName:
    wanted = _known_source(source)
    able = [name for name, supply in data.sources.items() if split in supply.splits]
    if wanted not in able:
        raise SettingsError(f"source '{source}' has no {split} images of {dataset}; these have: {', '.join(able)}")
    return wanted


def _known_source(source: str) -> SourceName:
    if source not in get_args(SourceName):
        raise SettingsError(unknown("source", source, get_args(SourceName)))
    return cast(SourceName, source)


def _needed(root: Path | None, source: str) -> Path:
    if root is None:
        raise SettingsError(f"source '{source}' needs the folder that holds the data sets (root)")
    return root


def _rows(index: Sequence[int], limit: int | None, indices: Sequence[int] | None, where: str) -> list[int]:
    if indices is None:
        if limit is not None and limit < 1:
            raise SettingsError(f"{where}: limit {limit} takes no image; nearest: 1")
        return list(range(len(index)))[:limit]
    if limit is not None:
        raise SettingsError(f"{where}: limit and indices exclude each other")
    return _at({position: row for row, position in enumerate(index)}, indices, where)


def _at(row_of: Mapping[int, int], positions: Sequence[int], where: str) -> list[int]:
    """The rows of these positions; `SettingsError` that starts with `where` if one is not there."""
    if missing := [position for position in positions if position not in row_of]:
        nearest = min(row_of, key=lambda position: abs(position - missing[0]))
        raise SettingsError(f"{where}: no image has index {missing[0]}; nearest: {nearest}")
    return [row_of[position] for position in positions]


def _statistics(dataset: str, data: Dataset, source: SourceName, root: Path | None) -> tuple[Channels, Channels]:
    if data.statistics:
        return data.statistics.mean, data.statistics.std
    training = SOURCES[source](dataset, data, "train", root).images
    images = training if isinstance(training, Tensor) else _decode(training, data)
    std, mean = torch.std_mean(to_unit(images, torch.float64, "cpu"), dim=(0, 2, 3), correction=0)
    return tuple(mean.tolist()), tuple(std.tolist())


def _decode(files: Sequence[Path], data: Dataset) -> Tensor:
    """The images, uint8 [n, 3, size, size]."""
    images = torch.empty(len(files), 3, data.size, data.size, dtype=torch.uint8)
    # one thread: on two cores a pool was slower, for 32-pixel and for 500-pixel files
    for row, file in enumerate(files):
        images[row] = torch.from_numpy(_pixels(file, data.size, data.resize)).permute(2, 0, 1)
    return images


def _pixels(file: Path, size: int, resize: int | None) -> np.typing.NDArray[np.uint8]:
    """uint8 [size, size, 3]; other sizes become so as by torchvision's `Resize(resize)` and `CenterCrop(size)`."""
    image = _opened(file)
    if image.size != (size, size):
        if resize is None:
            raise SettingsError(f"{file}: {image.width}x{image.height} pixels, not {size}x{size}")
        short = min(image.size)
        width, height = (int(resize * side / short) for side in image.size)
        left, top = round((width - size) / 2), round((height - size) / 2)
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.array(image)


def _opened(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError) as error:  # Pillow's word for a broken PNG is SyntaxError
        raise SettingsError(f"{file}: not a readable image: {error}") from None


def _uniform(low: int, high: int, random: torch.Generator) -> int:
    """An integer in low..high, both included."""
    return int(torch.randint(low, high + 1, (), generator=random))


def _per_channel(values: Channels, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device).view(3, 1, 1)
