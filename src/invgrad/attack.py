"""The attack: optimise candidate images until what they would make a client share matches what it did share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from invgrad import seeds
from invgrad.client import Client
from invgrad.engine import Objective, TangentObjective, Trials, objective_for
from invgrad.labels import infer_label
from invgrad.objectives import AllLayers, Cosine, Distance, Layers, Weighting, layer_weights
from invgrad.optimisers import Adam, Optimiser
from invgrad.priors import box, median_filter, total_variation
from invgrad.settings import Settings, SettingsError

Progress = Callable[[int, int, Tensor], None]
"""Called after every iteration with (iterations done, iterations in all, matching cost of the running trials)."""


class Normal(Settings):
    """Start from independent standard normal values in normalised coordinates."""

    kind: Literal["normal"] = "normal"

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """float32 of this shape."""
        return torch.randn(shape, generator=generator)


class Uniform(Settings):
    """Start from independent values uniform in [−1, 1) in normalised coordinates (released code: `rand`)."""

    kind: Literal["uniform"] = "uniform"

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """float32 of this shape."""
        return torch.rand(shape, generator=generator) * 2 - 1


class Zeros(Settings):
    """Start from zeros, the data set's mean colour."""

    kind: Literal["zeros"] = "zeros"

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """float32 of this shape."""
        return torch.zeros(shape)


Start = Annotated[Normal | Uniform | Zeros, Field(discriminator="kind")]


class Attack(Settings):
    """The settings of the attack; the defaults are the paper's proposed one (Sec. 4)."""

    distance: Distance = Cosine()
    layers: Layers = AllLayers()
    weighting: Weighting = "equal"
    optimiser: Optimiser = Adam()
    step_decay: bool = True
    start: Start = Normal()
    iterations: int = Field(default=4800, ge=1)
    restarts: int = Field(default=1, ge=1)
    total_variation: float = Field(default=0.01, ge=0)
    box: bool = True
    median_filter_every: int | None = Field(default=None, ge=1)
    selection: Literal["matching-cost", "total-variation", "pixel-mean", "pixel-median"] = "matching-cost"


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the server has from each of several clients, and public metadata; never their images."""

    tensors: tuple[Tensor, ...]
    """One tensor [clients, *parameter.shape] per parameter, in the order of `network.parameters()`."""
    images: int
    """Images per client, n."""
    shape: tuple[int, int, int]
    """Shape of one image: 3, height, width."""
    mean: tuple[float, float, float]
    """The data set's mean per channel, of images in [0, 1]."""
    std: tuple[float, float, float]
    labels: Tensor | None = None
    """Class indices [clients, n] if the server knows them; otherwise the attack infers them."""
    names: tuple[str, ...] = field(default=())
    """A name per client, from which its trials' randomness is derived; by default its position."""

    def __len__(self) -> int:
        """The number of clients."""
        return len(self.tensors[0])


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The result for every client."""

    images: Tensor
    """Selected images [clients, n, 3, h, w] in normalised coordinates; not a number where every restart failed."""
    labels: Tensor
    """The labels that the attack used, [clients, n]."""
    matching_cost: Tensor
    """Final matching cost of every restart without the prior, [clients, restarts]; not finite where it failed."""
    selected: Tensor
    """The selected restart [clients]; −1 where every restart failed or the restarts were averaged."""


def reconstruct(
    network: nn.Module,
    client: Client,
    shared: Shared,
    attack: Attack,
    *,
    seed_key: str,
    start: Tensor | None = None,
    trials_at_once: int | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Attack every client in `shared` and return the selected reconstructions.

    `network` is the victim on the device and in the dtype to compute in, in the mode in which the clients computed.
    Restart r of client c starts from noise that depends on (`seed_key`, name of c, r) alone, or from `start`
    [clients, restarts, n, 3, h, w] if given. Trials are optimised in batches of `trials_at_once` (all by default);
    they do not influence each other. Raises `SettingsError` if labels must be inferred and cannot be.
    """
    device, dtype = _home(network)
    labels = _labels(network, client, shared).to(device)
    begin = draw_starts(shared, attack, seed_key) if start is None else start
    objective = objective_for(network, client, attack.distance, attack.total_variation)
    clients = [c for c in range(len(shared)) for _ in range(attack.restarts)]
    flat = begin.to(device, dtype).flatten(0, 1).clone()
    size = trials_at_once or len(flat)
    costs = []
    batches = range(0, len(flat), size)
    for number, first in enumerate(batches):
        part = slice(first, first + size)
        trials = _trials(shared, attack, labels, clients[part], device, dtype)
        images = flat[part].clone()
        for iteration, matching in enumerate(_optimise(objective, attack, shared, images, trials), start=1):
            if progress:
                progress(number * attack.iterations + iteration, len(batches) * attack.iterations, matching)
        flat[part] = images
        costs.append(objective.matching_cost(images, trials))
    candidates = flat.unflatten(0, (len(shared), attack.restarts))
    cost = torch.cat(costs).unflatten(0, (len(shared), attack.restarts))
    images, selected = select(candidates, cost, attack)
    return Reconstruction(images=images, labels=labels, matching_cost=cost, selected=selected)


def draw_starts(shared: Shared, attack: Attack, seed_key: str) -> Tensor:
    """The start of every trial, [clients, restarts, n, 3, h, w], float32 on the CPU."""
    shape = (shared.images, *shared.shape)
    names = shared.names or tuple(str(c) for c in range(len(shared)))
    return torch.stack(
        [
            torch.stack([attack.start.draw(shape, seeds.generator(seed_key, name, r)) for r in range(attack.restarts)])
            for name in names
        ]
    )


def milestones(iterations: int) -> tuple[int, int, int]:
    """The iterations from which on the step size is 10, 100 and 1000 times smaller: near 3/8, 5/8 and 7/8, with the
    released code's rounding.
    """
    return int(iterations // 2.667), int(iterations // 1.6), int(iterations // 1.142)


def select(candidates: Tensor, cost: Tensor, attack: Attack) -> tuple[Tensor, Tensor]:
    """Choose or average among the restarts, candidates [clients, restarts, n, 3, h, w] with matching costs
    [clients, restarts]. Failed restarts (cost or pixels not finite) never take part.
    """
    finite = cost.isfinite() & candidates.isfinite().flatten(2).all(2)
    if attack.selection in ("pixel-mean", "pixel-median"):
        kept = torch.where(finite[:, :, None, None, None, None], candidates, torch.nan)
        averaged = kept.nanmean(1) if attack.selection == "pixel-mean" else kept.nanmedian(1).values
        return averaged, torch.full_like(cost[:, 0], -1, dtype=torch.long)
    score = cost
    if attack.selection == "total-variation":
        score = torch.stack([torch.stack([total_variation(x) for x in each]) for each in candidates])
    best = torch.where(finite, score, torch.inf).argmin(1)
    chosen = candidates[torch.arange(len(candidates), device=candidates.device), best]
    succeeded = finite.any(1)
    return torch.where(succeeded[:, None, None, None, None], chosen, torch.nan), torch.where(succeeded, best, -1)


def _optimise(
    objective: Objective | TangentObjective, attack: Attack, shared: Shared, images: Tensor, trials: Trials
) -> Iterator[Tensor]:
    """Change `images` in place, iteration by iteration, yielding the matching costs before each."""
    mean, std = (images.new_tensor(each)[:, None, None] for each in (shared.mean, shared.std))
    low, high = box(mean, std)
    stepper = attack.optimiser.bind([images])
    drops = milestones(attack.iterations) if attack.step_decay else ()
    matching = images.new_zeros(len(images))

    def evaluate() -> tuple[Tensor, list[Tensor]]:
        nonlocal matching
        slope, value, matching = objective.gradient(images, trials)
        return value, [slope]

    for iteration in range(attack.iterations):
        stepper.step(evaluate, decay=0.1 ** sum(iteration >= drop for drop in drops))
        if attack.box:
            torch.clamp(images, low, high, out=images)
        if attack.median_filter_every and (iteration + 1) % attack.median_filter_every == 0:
            images.copy_(median_filter(images))
        yield matching


def _trials(
    shared: Shared, attack: Attack, labels: Tensor, clients: list[int], device: torch.device, dtype: torch.dtype
) -> Trials:
    target = tuple(tensor.to(device, dtype)[clients] for tensor in shared.tensors)
    each = [[tensor[t] for tensor in target] for t in range(len(clients))]
    return Trials(
        labels=labels[clients],
        target=target,
        weights=torch.stack([layer_weights(attack.weighting, one) for one in each]),
        chosen=torch.stack([attack.layers.mask(one) for one in each]),
    )


def _labels(network: nn.Module, client: Client, shared: Shared) -> Tensor:
    if shared.labels is not None:
        return shared.labels
    if client.kind != "gradient" or shared.images != 1:
        raise SettingsError("labels can be inferred from the gradient of a single image only")
    shapes = [parameter.shape for parameter in network.parameters()]
    last_matrix = max(index for index, shape in enumerate(shapes) if len(shape) == 2)
    return infer_label(shared.tensors[last_matrix])[:, None]


def _home(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    parameter = next(network.parameters())
    return parameter.device, parameter.dtype
