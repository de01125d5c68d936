"""Registry of data sets: the shape, statistics and sources of each. Imports no torch."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from invgrad.results.files import sha256
from invgrad.settings import LONGEST_NAME, Settings, SettingsError, parse, read_yaml, unknown

SplitName = Literal["train", "validation"]


SourceName = Literal["packaged", "torchvision", "folder"]


PerChannel = Sequence[float]
"""A value for each channel of images, of which a data set has three."""

Channels = tuple[float, float, float]
Spread = Annotated[float, Field(ge=1e-6, le=1e6)]
Spreads = tuple[Spread, Spread, Spread]
"""Standard deviation of each channel."""

Classes = Annotated[int, Field(ge=1, le=10**6)]
Side = Annotated[int, Field(ge=1, le=2**13)]
"""Height and width of an image, in pixels."""


Box = tuple[int, int, int, int]


PACKAGED = Path(__file__).with_name("datasets.yaml")


REGISTRY = Path("data/datasets.yaml")
"""The project's additions to the packaged registry."""


LOSSY = (".jpg", ".jpeg")


class Package(Settings):
    """Image files that come with an installed package."""

    module: str
    distribution: str
    version: str
    folder: str
    files: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]
    """SHA-256 checksums by file name."""

    def paths(self) -> list[Path]:
        """List the files, in the registry's order; `SettingsError` if one is missing or differs from its checksum."""
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
        found = sha256(file)
        if found != checksum:
            raise SettingsError(f"{file}: sha256 is {found}, not {checksum} as in {self.distribution} {self.version}")
        return file


class Supply(Settings):
    """The part of a data set that one source has."""

    origin: str
    splits: tuple[SplitName, ...]
    packages: tuple[Package, ...] = ()

    def sentence(self, files: Sequence[Path]) -> str:
        """Describe the origin of these images to a reader; `files` are those that were decoded from image files."""
        words = [self.origin]
        if self.packages:
            words.append(" and ".join(f"{package.distribution} {package.version}" for package in self.packages))
        if files:
            lossy = sum(map(is_lossy, files))
            words.append(f"({lossy} JPEG copies, {len(files) - lossy} lossless)")
        return " ".join(words)


class Statistics(Settings):
    """Mean and standard deviation per channel, of values in [0, 1], with their source."""

    mean: Channels
    std: Spreads
    origin: str


class Crops(Settings):
    """Recipe for a data set of square crops of large images, one class an image."""

    train_share: float = Field(gt=0, lt=1)
    """Share of the height above which training crops lie; validation crops lie below it."""
    smallest: PositiveInt
    """Least side of a window, in pixels of the large image."""
    largest: float = Field(gt=0, le=1)
    """Greatest side of a window, as a share of the large image's shorter side."""
    contrast: float = Field(ge=0, le=0.5)
    """Least standard deviation over the pixels of a crop, mean over channels, of values in [0, 1]: a black background
    identifies nothing."""
    seed: int


class Dataset(Settings):
    """An entry of the registry."""

    title: str = ""
    """Name for readers; if empty, that of the entry."""
    classes: Classes
    class_names: tuple[str, ...] = ()
    """Names in class order; if empty, a list beside the images, or the alphabet, gives the order."""
    size: Side
    """Height and width of an image, in pixels."""
    resize: Side | None = None
    """Shorter side to which images of another size are resized, then cropped at the centre; None: there are none."""
    images: dict[SplitName, PositiveInt]
    """Number of images of each full split."""
    statistics: Statistics | None = None
    """Statistics of the training images; None: they are computed from those of the same source."""
    crops: Crops | None = None
    """Recipe for cutting the source's large images into crops; None: they are not cut."""
    sources: dict[SourceName, Supply]

    @model_validator(mode="after")
    def _a_name_for_every_class(self) -> Self:
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(f"{len(self.class_names)} class_names for {self.classes} classes")
        return self


class _Registry(Settings):
    datasets: dict[Annotated[str, Field(pattern="^[a-z0-9]+$", max_length=LONGEST_NAME)], Dataset]
    """Data sets by name, which becomes part of file names."""


def describe(dataset: str, registry: Path = REGISTRY) -> Dataset:
    """Look up a data set, in the project's registry before the package's.

    Raises `SettingsError` if there is none, or if the registry is not valid.
    """
    datasets: dict[str, Dataset] = {}
    for path in filter(Path.exists, (PACKAGED, registry)):
        datasets |= _datasets(path, path.stat().st_mtime_ns)
    if dataset not in datasets:
        raise SettingsError(unknown("data set", dataset, datasets))
    return datasets[dataset]


def title(dataset: str) -> str:
    """Name of a data set for readers."""
    return describe(dataset).title or dataset


@lru_cache(maxsize=4)
def _datasets(registry: Path, _: int) -> dict[str, Dataset]:
    """Read a registry file, once for each time of its last change: a plan asks hundreds of times."""
    return parse(_Registry, read_yaml(registry), str(registry)).datasets


def is_lossy(file: Path) -> bool:
    """Decide whether a file is a JPEG copy, which is not exactly the published image."""
    return file.suffix.lower() in LOSSY
