"""Training a victim by the released code's "conservative" recipe."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from invgrad import seeds
from invgrad.data import Split, normalise
from invgrad.settings import Settings
from invgrad.victims import copied_state, restore_state

EVALUATION_BATCH = 500


class Training(Settings):
    """SGD with Nesterov momentum, step decay, random crops and flips; the defaults are the released code's.

    `milestones` are the epochs after which the learning rate falls by 10. They are written for 120 epochs and not
    rescaled when fewer are run, as in the released code. No epochs leave a network as it is initialised.
    """

    epochs: NonNegativeInt = 120
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 0.1
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: NonNegativeFloat = 5e-4
    milestones: tuple[PositiveInt, ...] = (44, 74, 105)
    crop_padding: int = Field(default=4, ge=0)
    flip: bool = True

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        return math.prod([self.learning_rate, *(0.1 for milestone in self.milestones if milestone < epoch)])


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


class State:
    """A training so far: a network, on its device, and all else that the next epoch depends on besides the data."""

    def __init__(self, network: nn.Module, training: Training, *, seed: int) -> None:
        """Before the first epoch. Order, crops, flips and dropout depend on `seed` alone."""
        self.network = network
        self.training = training
        self.seed = seed
        self.curve: list[Epoch] = []
        self.random = seeds.generator("training", seed)
        self.optimiser = torch.optim.SGD(
            network.parameters(),
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            nesterov=training.momentum > 0,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Copies of all tensors of the state: network, momentum, random numbers."""
        momenta = {
            f"momentum.{name}": self.optimiser.state[parameter]["momentum_buffer"].clone()
            for name, parameter in self.network.named_parameters()
            if "momentum_buffer" in self.optimiser.state[parameter]
        }
        network = {f"network.{name}": tensor for name, tensor in copied_state(self.network).items()}
        return {**network, **momenta, "random": self.random.get_state()}

    def restore(self, tensors: Mapping[str, Tensor], curve: Iterable[Epoch]) -> None:
        """Go to the state that had these `tensors` and this curve. `KeyError` or `RuntimeError` if they are those of
        another network or recipe, which leaves this state undefined.
        """
        restore_state(self.network, _part(tensors, "network."))
        parameters = dict(self.network.named_parameters())
        for name, momentum in _part(tensors, "momentum.").items():
            parameter = parameters[name]
            # in the parameter's own memory layout, as torch makes it
            self.optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).detach().copy_(momentum)
        self.random.set_state(tensors["random"])
        self.curve = list(curve)


def train(state: State, data: Split, validation: Split) -> Iterator[Epoch]:
    """Train the network in place, epoch by epoch, from where `state` is to the last epoch of its recipe.

    Whenever an epoch is yielded, the network is in evaluation mode and `state` is that after the epoch.
    """
    for number in range(len(state.curve) + 1, state.training.epochs + 1):
        with _dropout(state.seed, number, _device(state.network)):
            loss, correct = _pass(state, data, state.training.rate(number))
        state.network.eval()
        epoch = Epoch(
            epoch=number,
            training_loss=loss / len(data.images),
            training_accuracy=correct / len(data.images),
            validation_accuracy=accuracy(state.network, validation),
        )
        state.curve.append(epoch)
        yield epoch


def _pass(state: State, data: Split, rate: float) -> tuple[float, float]:
    """One pass over the data; the sum of the losses of all images, and how many were classified correctly."""
    network, optimiser, training = state.network.train(), state.optimiser, state.training
    for group in optimiser.param_groups:
        group["lr"] = rate
    losses, correct = [], []
    for batch in torch.randperm(len(data.images), generator=state.random).split(training.batch_size):
        images = augment(data.images[batch], training, state.random)
        logits, labels = _logits(network, images, data), data.labels[batch].to(_device(network))
        loss = F.cross_entropy(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach() * len(batch))
        correct.append((logits.argmax(1) == labels).sum())
    return torch.stack(losses).sum().item(), torch.stack(correct).sum().item()


@contextmanager
def _dropout(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Let torch's global generators, from which dropout draws, depend on these only, and leave them as they were."""
    numbers = seeds.derive("dropout", seed, epoch)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(numbers)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(numbers)
        yield


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


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
