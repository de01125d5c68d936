"""The whole attack, slow and obvious, to compare the package with: one trial at a time, the network called directly,
autograd's double backward, torch's own optimisers.

Written from the paper's and the released code's definitions. Of the package, only settings are read, and the
randomness that it derives from names is drawn again.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call

from invgrad import seeds
from invgrad.attack.result import Reconstruction
from invgrad.attack.settings import Attack, Start
from invgrad.clients.settings import Client, FederatedAveraging
from invgrad.clients.shared import Shared
from invgrad.objective.settings import Distance, Layers, Weighting


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a trial ended."""

    images: Tensor
    labels: Tensor
    cost: float
    iterations: int

    @property
    def succeeded(self) -> bool:
        return bool(np.isfinite(self.cost)) and bool(self.images.isfinite().all())


def reconstruct(
    network: nn.Module,
    client: Client,
    shared: Shared,
    attack: Attack,
    *,
    seed_key: str,
    jitter: float = 0,
    draw: int = 0,
) -> Reconstruction:
    """What the package's `reconstruct` should return. With `jitter`, all that rounding may change is moved by noise of
    this size: starts, what the clients shared, the slope before its sign is taken, and pixels after each step. `draw`:
    the number of the noise.
    """
    noise = torch.Generator().manual_seed(draw)

    def moved(each: Tensor) -> Tensor:
        return each + jitter * torch.randn(each.shape, generator=noise, dtype=each.dtype)

    shared = replace(
        shared,
        tensors=tuple(tensor + tensor.norm() * (moved(tensor) - tensor) for tensor in shared.tensors),
        statistics=tuple(moved(tensor) for tensor in shared.statistics),
    )
    selected = []
    everything = []
    for number in range(len(shared)):
        target = [tensor[number] for tensor in shared.tensors]
        sent = [tensor[number] for tensor in shared.statistics]
        trials = []
        for restart in range(attack.restarts):
            names = seed_key, shared.name(number), restart
            begin = moved(start(attack.start, shared, seeds.generator(*names)).double())
            labels = start_labels(network, client, shared, attack, number, begin, seeds.generator(*names, "labels"))
            drawn = seeds.generator(*names, "layers")
            trials.append(run(network, client, shared, attack, target, sent, begin, labels, drawn, moved))
        selected.append(select(trials, attack))
        everything.append(trials)
    return Reconstruction(
        images=torch.stack([images for images, _, _ in selected]),
        labels=torch.stack([labels for _, labels, _ in selected]),
        matching_cost=torch.tensor([[trial.cost for trial in trials] for trials in everything], dtype=torch.float64),
        iterations=torch.tensor([[trial.iterations for trial in trials] for trials in everything]),
        selected=torch.tensor([best for _, _, best in selected]),
    )


def share(network: nn.Module, client: Client, images: Tensor, labels: Tensor) -> list[Tensor]:
    """What a client shares, differentiable. Real labels [n, classes] are what the class probabilities are the softmax
    of.
    """
    network = used_by(client, network)
    names = [name for name, _ in network.named_parameters()]
    before = list(network.parameters())
    if not isinstance(client, FederatedAveraging):
        return list(torch.autograd.grad(loss(network(images.clone()), labels), before, create_graph=True))
    size = client.batch_size or len(images)
    batches = list(zip(images.split(size), labels.split(size), strict=True))
    schedule = batches * client.epochs if client.epochs else [batches[i % len(batches)] for i in range(client.steps)]
    local = before
    for some_images, some_labels in schedule:
        logits = functional_call(network, dict(zip(names, local, strict=True)), (some_images.clone(),))
        gradient = torch.autograd.grad(loss(logits, some_labels), local, create_graph=True)
        local = [value - client.learning_rate * slope for value, slope in zip(local, gradient, strict=True)]
    if client.shared == "parameters":
        return local
    return [after - value for after, value in zip(local, before, strict=True)]


def statistics(network: nn.Module, client: Client, images: Tensor) -> list[Tensor]:
    """Mean and biased variance of what every batch-norm layer gets, in the order of the forward pass."""
    if client.statistics == "withheld":
        return []
    network = used_by(client, network)
    found = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        channels = inputs[0].transpose(0, 1).flatten(1)
        mean = channels.mean(1)
        found.extend([mean, ((channels - mean[:, None]) ** 2).mean(1)])

    for layer in batch_norms(network):
        layer.register_forward_pre_hook(look)
    network(images.clone())
    return found


def used_by(client: Client, network: nn.Module) -> nn.Module:
    """A copy of the network as the client uses it."""
    network = deepcopy(network)
    for layer in batch_norms(network):
        layer.train(client.batch_norm == "training")
    return network


def batch_norms(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))]


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the images."""
    expected = labels.softmax(1) if labels.is_floating_point() else F.one_hot(labels, logits.shape[1])
    return -(expected * logits.log_softmax(1)).sum(1).mean()


def run(
    network: nn.Module,
    client: Client,
    shared: Shared,
    attack: Attack,
    target: Sequence[Tensor],
    sent: Sequence[Tensor],
    begin: Tensor,
    begin_labels: Tensor,
    drawn: torch.Generator,
    moved: Callable[[Tensor], Tensor],
) -> Ended:
    """One trial."""
    images, labels = begin.clone().requires_grad_(), begin_labels.clone()
    variables = [images, labels.requires_grad_()] if labels.is_floating_point() else [images]
    optimiser = optimiser_of(attack, variables)
    mean, std = (torch.tensor(each, dtype=torch.float64)[:, None, None] for each in (shared.mean, shared.std))
    weights = layer_weights(attack.weighting, len(target))
    redrawn = attack.layers.kind == "random"

    def matching(chosen: Sequence[int]) -> Tensor:
        return distance(attack.distance, share(network, client, images, labels), target, weights, chosen)

    def closure() -> Tensor:
        cost = matching(chosen) + attack.total_variation * total_variation(images)
        if attack.batch_statistics:
            own = statistics(network, client, images)
            cost = cost + attack.batch_statistics * sum(((a - b) ** 2).sum() for a, b in zip(own, sent, strict=True))
        for variable, slope in zip(variables, torch.autograd.grad(cost, variables), strict=True):
            variable.grad = slope.contiguous()
        if getattr(attack.optimiser, "signed", False):
            images.grad = moved(images.grad).sign()
        return cost

    taken = 0
    for iteration in range(attack.iterations):
        chosen = choose(attack.layers, target, drawn)
        if attack.tolerance is not None and not matching(chosen) > attack.tolerance:
            break
        for group in optimiser.param_groups:
            group["lr"] = step_size(attack, iteration)
        optimiser.step(closure)
        taken += 1
        with torch.no_grad():
            images.copy_(moved(images))  # before the filter, by which neighbours become equal in either implementation
            if attack.box:
                images.copy_(images.clamp((0 - mean) / std, (1 - mean) / std))
            if attack.median_filter_every and taken % attack.median_filter_every == 0:
                images.copy_(median_filter(images))
    cost = matching(range(len(target)) if redrawn else choose(attack.layers, target, drawn)).item()
    hard = labels.argmax(1) if labels.is_floating_point() else labels
    return Ended(images=images.detach(), labels=hard.detach(), cost=cost, iterations=taken)


def optimiser_of(attack: Attack, variables: list[Tensor]) -> torch.optim.Optimizer:
    match attack.optimiser.kind:
        case "adam":
            return torch.optim.Adam(variables)
        case "sgd":
            return torch.optim.SGD(variables, momentum=0.9, nesterov=True)
        case "lbfgs":
            return torch.optim.LBFGS(variables)


def step_size(attack: Attack, iteration: int) -> float:
    """Ten times smaller from each of three iterations on."""
    size = attack.optimiser.step_size
    if attack.step_decay:
        for divisor in (2.667, 1.6, 1.142):
            if iteration >= attack.iterations // divisor:
                size /= 10
    return size


def distance(
    settings: Distance,
    gradient: Sequence[Tensor],
    target: Sequence[Tensor],
    weights: Sequence[float],
    chosen: Sequence[int],
) -> Tensor:
    layers = [(gradient[layer].flatten(), target[layer].flatten(), weights[layer]) for layer in chosen]
    match settings.kind:
        case "squared-euclidean":
            return sum(w * ((g - t) ** 2).sum() for g, t, w in layers)
        case "l1":
            return sum(w * (g - t).abs().sum() for g, t, w in layers)
        case "maximum":
            return sum(w * (g - t).abs().max() for g, t, w in layers)
        case "cosine":
            inner = sum(w * (g * t).sum() for g, t, w in layers)
            norm = sum(w * (g * g).sum() for g, _, w in layers).sqrt()
            target_norm = sum(w * (t * t).sum() for _, t, w in layers).sqrt()
            return 1 - inner / (norm * target_norm)
        case "pruned-cosine":
            inner = sum(w * (g * t).sum() for g, t, w in layers)
            norm = sum(w * (g[t != 0] ** 2).sum() for g, t, w in layers).sqrt()
            return 1 - inner / (norm * sum(w * (t * t).sum() for _, t, w in layers).sqrt())
        case "layerwise-cosine":
            return sum(1 - w * (g * t).sum() / (g.norm().clamp(1e-10) * t.norm().clamp(1e-10)) for g, t, w in layers)


def choose(layers: Layers, target: Sequence[Tensor], drawn: torch.Generator) -> list[int]:
    """The layers that count."""
    numbers = list(range(len(target)))
    match layers.kind:
        case "all":
            return numbers
        case "first":
            return numbers[: layers.count]
        case "last":
            return numbers[-layers.count :]
        case "largest":
            return sorted(numbers, key=lambda number: -target[number].norm().item())[: layers.count]
        case "listed":
            return sorted(set(layers.layers))
        case "random":
            return torch.randperm(len(target), generator=drawn)[: layers.count].tolist()


def layer_weights(weighting: Weighting, layers: int) -> list[float]:
    match weighting:
        case "equal":
            return [1.0] * layers
        case "linear":
            return [1 - layer / layers for layer in range(layers)]
        case "exponential":
            return [float(np.exp(-layer)) for layer in range(layers)]


def total_variation(images: Tensor) -> Tensor:
    along_x = images[..., :, :-1] - images[..., :, 1:]
    along_y = images[..., :-1, :] - images[..., 1:, :]
    return along_x.abs().mean() + along_y.abs().mean()


def median_filter(images: Tensor) -> Tensor:
    """3×3, reflected at the borders."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    shifted = [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return torch.stack(shifted).median(0).values


def start(how: Start, shared: Shared, generator: torch.Generator) -> Tensor:
    """Images [n, 3, h, w]; as drawn, in single precision."""
    shape = shared.images, *shared.shape
    match how.kind:
        case "normal":
            return torch.randn(shape, generator=generator)
        case "uniform":
            return 2 * torch.rand(shape, generator=generator) - 1
        case "zeros":
            return torch.zeros(shape)
        case "picture":
            pixels = torch.from_numpy(np.array(Image.open(how.path).convert("RGB"))).permute(2, 0, 1)
            mean, std = (torch.tensor(each)[:, None, None] for each in (shared.mean, shared.std))
            return ((pixels / 255 - mean) / std).repeat(shared.images, 1, 1, 1)


def start_labels(
    network: nn.Module,
    client: Client,
    shared: Shared,
    attack: Attack,
    number: int,
    images: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Class indices [n], or logits [n, classes] to be optimised."""
    if shared.labels is not None:
        return shared.labels[number]
    if attack.unknown_labels == "optimised":
        return torch.randn(network(images.clone()).shape, generator=generator).double()
    last = shared.tensors[-1][number]
    taken = last.tolist()
    if last.dim() == 2:  # a sequence of layers, the last one without a bias
        noise = torch.randn(shared.images, *shared.shape, generator=torch.Generator().manual_seed(0)).double()
        inputs = used_by(client, network)[:-1](noise)
        taken = [sum(row) / inputs.sum(1).mean().item() for row in taken]
    labels = []
    for _ in range(shared.images):
        labels.append(taken.index(min(taken)))
        taken[labels[-1]] += 1 / shared.images
    return torch.tensor(sorted(labels))


def select(trials: Sequence[Ended], attack: Attack) -> tuple[Tensor, Tensor, int]:
    """Images, labels and number of the best restart; −1 if there is none or the images are averaged, then with the
    labels of the restart of least cost.
    """
    sound = [number for number, trial in enumerate(trials) if trial.succeeded]
    if not sound:
        costs = [trial.cost if np.isfinite(trial.cost) else np.inf for trial in trials]
        return torch.full_like(trials[0].images, torch.nan), trials[int(np.argmin(costs))].labels, -1
    cheapest = min(sound, key=lambda number: trials[number].cost)
    candidates = torch.stack([trials[number].images for number in sound])
    match attack.selection:
        case "matching-cost":
            return trials[cheapest].images, trials[cheapest].labels, cheapest
        case "total-variation":
            smoothest = min(sound, key=lambda number: total_variation(trials[number].images).item())
            return trials[smoothest].images, trials[smoothest].labels, smoothest
        case "pixel-mean":
            return candidates.sum(0) / len(sound), trials[cheapest].labels, -1
        case "pixel-median":  # the lower one of two in the middle
            return candidates.sort(0).values[(len(sound) - 1) // 2], trials[cheapest].labels, -1
