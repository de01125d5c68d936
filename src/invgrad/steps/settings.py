"""Settings of the commands that attack a network of the user's choice. Imports no torch: mistakes show at once."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from invgrad.attack.settings import Attack
from invgrad.clients.settings import Client, GradientClient
from invgrad.data.registry import Classes, Side, SplitName, Spread
from invgrad.networks.settings import Network
from invgrad.settings import Settings


class AttackOnNetwork(Settings):
    """Network that a command attacks, and how; the fields are options of the command line."""

    network: Network | None = None
    """Network, untrained or with published parameters, or those of a checkpoint; None: that of the checkpoint."""
    dataset: str | None = None
    """Data set of the network, with its classes, image size and normalisation; None: the following say these."""
    classes: Classes | None = None
    size: Side | None = None
    """Height and width of an image, in pixels."""
    channels: Annotated[int, Field(ge=1, le=2**16)] | None = None
    """Channels of an image; None: 3."""
    mean: tuple[float, ...] = ()
    """The data's mean per channel, of images in [0, 1]; empty: 0, the network takes images as they are."""
    std: tuple[Spread, ...] = ()
    """The data's standard deviation per channel; empty: 1."""
    attack: Attack = Attack()
    seed: NonNegativeInt = 0
    """Seed of the network's initial parameters and of the noise that the attack starts from."""


class ImageAttack(AttackOnNetwork):
    """Attack on one client that holds the user's images; the fields are options of `invgrad reconstruct`."""

    labels: tuple[NonNegativeInt, ...] = ()
    """Class index of every image; empty: the classes that the network predicts."""
    labels_known: bool = True
    """True if the server knows the labels."""
    shares: Client = GradientClient()


class GradientAttack(AttackOnNetwork):
    """Attack on the gradient that one client shared; the fields are options of `invgrad attack-gradient`."""

    labels: tuple[NonNegativeInt, ...] = ()
    """Class index of every image; empty: they are inferred from the gradient."""
    images: PositiveInt | None = None
    """Number of images of the client; None: that of the labels, or 1."""
    learning_rate: PositiveFloat | None = None
    """Learning rate of local training, if the file holds the change of the parameters; None: it holds a gradient."""


class AuditStep(AttackOnNetwork):
    """Attack on a sample of clients; the fields are options of `invgrad audit`."""

    clients: PositiveInt = 20
    images_per_client: PositiveInt = 1
    labels_known: bool = True
    """True if the server knows the labels."""
    shares: Client = GradientClient()
    split: SplitName = "validation"
    """Split of the network's data set that clients hold images of, where no folder is given."""
    fail_if_recovered: float | None = Field(default=None, gt=0, lt=1)
    """Share of recovered images that the upper end of its 95 % interval must lie below; None: any passes."""
