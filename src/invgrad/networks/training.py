"""Training of a victim by the released code's "conservative" recipe."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invgrad import seeds
from invgrad.data.images import normalise
from invgrad.data.splits import Split
from invgrad.defences.updates import defended
from invgrad.networks.checkpoint import copied_state, restore_state
from invgrad.networks.settings import Training
from invgrad.settings import SettingsError

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Epoch:
    """One line of the accuracy curve: mean training loss, and the shares of correctly classified images."""

    epoch: int
    training_loss: float
    training_accuracy: float
    validation_accuracy: float

    def as_row(self) -> dict[str, Any]:
        """Return a row of a table."""
        return asdict(self)


class State:
    """State of a training: the network, on its device, and all else that the next step depends on besides the data."""

    def __init__(self, network: nn.Module, training: Training, *, seed: int) -> None:
        """Begin before the first epoch. Order, crops, flips and dropout depend on `seed` alone."""
        self.network = network
        self.training = training
        self.seed = seed
        self.curve: list[Epoch] = []
        self.random = seeds.generator("training", seed)
        self.under_way = Pass()

    @cached_property
    def optimiser(self) -> torch.optim.SGD:
        """The optimiser; made when it is needed, since the first one in a process takes torch a second to import."""
        training = self.training
        return torch.optim.SGD(
            self.network.parameters(),
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            nesterov=training.momentum > 0,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Copy all tensors of the state: network, momentum, random numbers, curve, the current epoch."""
        momenta = {
            f"momentum.{name}": self.optimiser.state[parameter]["momentum_buffer"].clone()
            for name, parameter in self.network.named_parameters()
            if "momentum_buffer" in self.optimiser.state[parameter]
        }
        network = {f"network.{name}": tensor for name, tensor in copied_state(self.network).items()}
        under_way = {f"pass.{name}": tensor for name, tensor in self.under_way.tensors().items()}
        curve = torch.tensor([list(epoch.as_row().values()) for epoch in self.curve], dtype=torch.float64)
        return {**network, **momenta, **under_way, "random": self.random.get_state(), "curve": curve}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the state of a training of the same network, recipe and data from its `tensors`."""
        restore_state(self.network, _part(tensors, "network."))
        parameters = dict(self.network.named_parameters())
        for name, momentum in _part(tensors, "momentum.").items():
            parameter = parameters[name]
            # in the parameter's own memory layout, as torch makes it
            self.optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).detach().copy_(momentum)
        self.random.set_state(tensors["random"])
        self.curve = [Epoch(int(number), *shares) for number, *shares in tensors["curve"].tolist()]
        self.under_way = Pass.of(_part(tensors, "pass."), _device(self.network))


@dataclass
class Pass:
    """A pass over the data, up to its current batch."""

    order: Tensor = field(default_factory=partial(torch.empty, 0, dtype=torch.long))
    """Order of the images, [n]; empty between two epochs."""
    losses: list[Tensor] = field(default_factory=list)
    """Sum of the losses of each finished batch; like `correct` on the network's device, to not wait for its value."""
    correct: list[Tensor] = field(default_factory=list)
    """Number of correctly classified images of each finished batch."""

    def tensors(self) -> dict[str, Tensor]:
        """Copy the tensors, lists as [batches]."""
        return {"order": self.order.clone(), "losses": _stacked(self.losses), "correct": _stacked(self.correct)}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], device: torch.device) -> "Pass":
        """Restore a pass from its `tensors`."""
        losses, correct = (list(tensors[name].to(device).unbind()) for name in ("losses", "correct"))
        return cls(tensors["order"], losses, correct)


def train(
    state: State, data: Split, validation: Split, after_step: Callable[[], object] = lambda: None
) -> Iterator[Epoch]:
    """Train the network in place, epoch by epoch, from `state` to the last epoch of its recipe.

    Whenever an epoch is yielded, the network is in evaluation mode and `state` is that after the epoch; whenever
    `after_step` is called, `state` is that after a step of the optimiser.
    """
    training = state.training
    seen = len(data.images) - (len(data.images) % training.batch_size if training.drop_last else 0)
    if not seen and training.epochs:
        raise SettingsError(f"batch_size: {training.batch_size} images (nearest: {len(data.images)}, all there are)")
    while len(state.curve) < training.epochs:
        number = len(state.curve) + 1
        one_pass(state, data, number, after_step)
        state.network.eval()
        epoch = Epoch(
            epoch=number,
            training_loss=_stacked(state.under_way.losses).sum().item() / seen,
            training_accuracy=_stacked(state.under_way.correct).sum().item() / seen,
            validation_accuracy=accuracy(state.network, validation),
        )
        state.curve.append(epoch)
        state.under_way = Pass()
        yield epoch


# Of several ways to compute a convolution on a GPU, one that gives the same bits every time. Products are rounded there
# as by torch's own default, to tf32; an attack chooses its precision by `invgrad.runtime.devices.arithmetic`.
@torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
def one_pass(state: State, data: Split, number: int, after_step: Callable[[], object] = lambda: None) -> None:
    """Train on the rest of this epoch's pass over the data; arguments as for `train`."""
    network, optimiser, training = state.network.train(), state.optimiser, state.training
    device = _device(network)
    images, labels = data.images.to(device), data.labels.to(device)  # all at once, so that no step waits for a copy
    for group in optimiser.param_groups:
        group["lr"] = training.rate(number)
    if not len(state.under_way.order):
        state.under_way.order = torch.randperm(len(data.images), generator=state.random)
    under_way = state.under_way
    for position, batch in enumerate(under_way.order.split(training.batch_size)):
        if position < len(under_way.losses) or (training.drop_last and len(batch) < training.batch_size):
            continue
        which = batch.to(device)
        with _dropout(state.seed, number, position, device):
            logits = _logits(network, augment(images[which], training, state.random), data)
            loss = F.cross_entropy(logits, labels[which])
            optimiser.zero_grad()
            loss.backward()
        _defend(network, training, state.seed, number, position)
        optimiser.step()
        under_way.losses.append(loss.detach() * len(batch))
        under_way.correct.append((logits.argmax(1) == labels[which]).sum())
        after_step()


def _defend(network: nn.Module, training: Training, *step: int) -> None:
    """Put what the client of this step shares in place of the gradient of its batch."""
    held = {each: each.grad for each in network.parameters() if each.grad is not None}
    shared = defended(training.defence, tuple(held.values()), "training", *step)
    for parameter, gradient in zip(held, shared, strict=True):
        parameter.grad = gradient


@contextmanager
def _dropout(seed: int, epoch: int, step: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, from which dropout draws, by these numbers; restore them afterwards."""
    numbers = seeds.derive("dropout", seed, epoch, step)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(numbers)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(numbers)
        yield


def augment(images: Tensor, training: Training, random: torch.Generator) -> Tensor:
    """Crop each image [n, 3, h, w] (uint8) at random after padding with black, and flip it with probability ½.

    The random numbers are drawn on the CPU, so that they are the same for images on any device.
    """
    count, channels, height, width = images.shape
    pad, device = training.crop_padding, images.device
    corners = torch.randint(2 * pad + 1, (2, count), generator=random)
    flipped = training.flip & (torch.rand(count, generator=random) < 0.5)
    down, right, mirrored = torch.stack([*corners, flipped])[..., None].to(device)  # one copy, for which a GPU waits
    padded = F.pad(images, (pad, pad, pad, pad))
    rows, columns = (torch.arange(size, device=device) for size in (height, width))
    columns = right + torch.where(mirrored > 0, columns.flip(0), columns)
    pixels = (down + rows)[:, :, None] * padded.shape[3] + columns[:, None]
    return padded.flatten(2).gather(2, pixels.view(count, 1, -1).expand(-1, channels, -1)).view(images.shape)


@torch.no_grad()
def accuracy(network: nn.Module, data: Split) -> float:
    """Return the share of images that the network, in its present mode, classifies correctly."""
    predictions = [_logits(network, images, data).argmax(1).cpu() for images in data.images.split(EVALUATION_BATCH)]
    return float((torch.cat(predictions) == data.labels).float().mean())


def _logits(network: nn.Module, images: Tensor, data: Split) -> Tensor:
    logits: Tensor = network(normalise(images, data.mean, data.std, torch.float32, _device(network)))
    return logits


def _stacked(values: list[Tensor]) -> Tensor:
    return torch.stack(values) if values else torch.empty(0)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
