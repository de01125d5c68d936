"""Registry of data sets."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from invgrad.settings import Settings, SettingsError, parse, read_yaml, unknown

SplitName = Literal["train", "validation"]


SourceName = Literal["packaged", "torchvision", "folder"]


Channels = tuple[float, float, float]


Box = tuple[int, int, int, int]


PACKAGED = Path(__file__).with_name("datasets.yaml")


REGISTRY = Path("data/datasets.yaml")
"""A project's additions to it."""


LOSSY = (".jpg", ".jpeg")


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
            lossy = sum(map(is_lossy, files))
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


def is_lossy(file: Path) -> bool:
    """True for a JPEG copy, which is not exactly the published image."""
    return file.suffix.lower() in LOSSY
