"""Training a victim by the released code's "conservative" recipe."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from invgrad import seeds
from invgrad.data import Split, normalise
from invgrad.settings import Settings

EVALUATION_BATCH = 500


class Training(Settings):
    """SGD with Nesterov momentum, step decay, random crops and flips; the defaults are the released code's.

    `milestones` are the epochs after which the learning rate falls by 10. They are written for 120 epochs and not
    rescaled when fewer are run, as in the released code.
    """

    epochs: PositiveInt = 120
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 0.1
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: NonNegativeFloat = 5e-4
    milestones: tuple[PositiveInt, ...] = (44, 74, 105)
    crop_padding: int = Field(default=4, ge=0)
    flip: bool = True


@dataclass(frozen=True)
class Epoch:
    """One line of the accuracy curve: mean training loss, and the shares of correctly classified images."""

    epoch: int
    training_loss: float
    training_accuracy: float
    validation_accuracy: float

    def as_row(self) -> dict[str, Any]:
        """As a row of a table."""
        return asdict(self)


def train(network: nn.Module, training: Training, data: Split, validation: Split, *, seed: int) -> Iterator[Epoch]:
    """Train `network` in place on its device, epoch by epoch; it is in evaluation mode whenever an epoch is yielded.

    Order, crops and flips depend on `seed` alone.
    """
    random = seeds.generator("training", seed)
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        nesterov=training.momentum > 0,
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(training.milestones), gamma=0.1)
    for epoch in range(1, training.epochs + 1):
        network.train()
        losses, correct = [], []
        for batch in torch.randperm(len(data.images), generator=random).split(training.batch_size):
            images = augment(data.images[batch], training, random)
            logits, labels = _logits(network, images, data), data.labels[batch].to(_device(network))
            loss = F.cross_entropy(logits, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach() * len(batch))
            correct.append((logits.argmax(1) == labels).sum())
        schedule.step()
        network.eval()
        count = len(data.images)
        yield Epoch(
            epoch=epoch,
            training_loss=torch.stack(losses).sum().item() / count,
            training_accuracy=torch.stack(correct).sum().item() / count,
            validation_accuracy=accuracy(network, validation),
        )


def augment(images: Tensor, training: Training, random: torch.Generator) -> Tensor:
    """A random crop of each image [n, 3, h, w] (uint8) after padding with black, and a flip of every second one."""
    count, _, height, width = images.shape
    pad = training.crop_padding
    padded = F.pad(images, (pad, pad, pad, pad))
    down, right = torch.randint(2 * pad + 1, (2, count), generator=random)
    flipped = training.flip & (torch.rand(count, generator=random) < 0.5)
    rows = down[:, None] + torch.arange(height)
    columns = right[:, None] + torch.arange(width)
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    image = torch.arange(count)[:, None, None, None]
    channel = torch.arange(3)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


@torch.no_grad()
def accuracy(network: nn.Module, data: Split) -> float:
    """The share of images that the network, in its present mode, classifies correctly."""
    predictions = [_logits(network, images, data).argmax(1).cpu() for images in data.images.split(EVALUATION_BATCH)]
    return float((torch.cat(predictions) == data.labels).float().mean())


def _logits(network: nn.Module, images: Tensor, data: Split) -> Tensor:
    logits: Tensor = network(normalise(images, data.mean, data.std, torch.float32, _device(network)))
    return logits


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
