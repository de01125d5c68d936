"""The attack: optimise candidate images until what they would make a client share matches what it did share."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from invgrad import seeds
from invgrad.attack_settings import Adam, Normal, Optimiser, Start
from invgrad.clients.settings import Client
from invgrad.devices import Precision, arithmetic, dtype_of
from invgrad.engine import objective_for
from invgrad.labels import infer_labels
from invgrad.memory import budget, fitting, in_batches
from invgrad.networks.parallelism import runs_together
from invgrad.objective.layer_weights import layer_mask, layer_weights
from invgrad.objective.settings import AllLayers, Cosine, Distance, Layers, Weighting
from invgrad.objectives import Gradient, squares
from invgrad.optimisers import stepper
from invgrad.priors import box, median_filter, total_variation
from invgrad.replay import repeated
from invgrad.running import Keeper, Running, Snapshots
from invgrad.settings import Settings, SettingsError
from invgrad.starts import draw
from invgrad.trials import Targets

Progress = Callable[[int, int, Tensor], None]
"""Called after every iteration with (iterations done, iterations in all, matching cost of the trials at hand)."""


class AttackSettings(Settings):
    """The settings of an attack of some kind, which run it."""

    @abstractmethod
    def run(
        self,
        network: nn.Module,
        client: Client,
        shared: "Shared",
        *,
        seed_key: str,
        memory: int | None = None,
        progress: Progress | None = None,
        keeper: Keeper | None = None,
    ) -> "Reconstruction":
        """Attack every client in `shared`; the arguments are those of `reconstruct`."""

    @abstractmethod
    def steps(self, clients: int) -> int:
        """What there is to do for this many clients, in the unit in which progress is told."""


class Attack(AttackSettings):
    """The settings of the attack by optimisation; the defaults are the paper's proposed one (Sec. 4)."""

    kind: Literal["optimisation"] = "optimisation"
    distance: Distance = Cosine()
    layers: Layers = AllLayers()
    weighting: Weighting = "equal"
    optimiser: Optimiser = Adam()
    step_decay: bool = True
    start: Start = Normal()
    iterations: int = Field(default=4800, ge=1)
    tolerance: float | None = Field(default=None, ge=0)
    """A trial rests as soon as its matching cost is not above this."""
    restarts: int = Field(default=1, ge=1)
    total_variation: float = Field(default=0.01, ge=0)
    batch_statistics: float = Field(default=0, ge=0)
    """Weight of the distance to the batch-norm statistics that a client sent along."""
    box: bool = True
    median_filter_every: int | None = Field(default=None, ge=1)
    selection: Literal["matching-cost", "total-variation", "pixel-mean", "pixel-median"] = "matching-cost"
    unknown_labels: Literal["inferred", "optimised"] = "inferred"
    """What to do about labels that the server does not know: infer them from the gradient, or optimise a soft label
    per image along with the images, from standard normal values (Zhu et al. 2019).
    """
    precision: Precision = "float32"
    deterministic: bool = False
    snapshots: int = Field(default=0, ge=0)
    """At how many moments, evenly spread from the start to the end, the candidates of every trial are kept (see
    `moments`).
    """

    def run(
        self,
        network: nn.Module,
        client: Client,
        shared: "Shared",
        *,
        seed_key: str,
        memory: int | None = None,
        progress: Progress | None = None,
        keeper: Keeper | None = None,
    ) -> "Reconstruction":
        """See `reconstruct`."""
        return reconstruct(
            network, client, shared, self, seed_key=seed_key, memory=memory, progress=progress, keeper=keeper
        )

    def steps(self, clients: int) -> int:
        """The iterations of all trials."""
        return clients * self.restarts * self.iterations


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the server has from each of several clients, and public metadata; never their images."""

    tensors: tuple[Tensor, ...]
    """One tensor [clients, *parameter.shape] per parameter, in the order of `network.parameters()`."""
    images: int
    """Images per client, n."""
    shape: tuple[int, int, int]
    """Shape of one image: channels, height, width."""
    mean: tuple[float, ...]
    """The data set's mean per channel, of images in [0, 1]."""
    std: tuple[float, ...]
    labels: Tensor | None = None
    """Class indices [clients, n] if the server knows them; otherwise the attack infers them."""
    statistics: tuple[Tensor, ...] = ()
    """Batch-norm statistics [clients, channels] each, if the clients sent them (`ClientSettings.sent_statistics`)."""
    names: tuple[str, ...] = field(default=())
    """A name per client, from which its trials' randomness is derived; by default its position."""

    def __len__(self) -> int:
        """The number of clients."""
        return len(self.tensors[0])

    def name(self, client: int) -> str:
        """The name of a client."""
        return self.names[client] if self.names else str(client)

    @classmethod
    def by_one_client(
        cls,
        tensors: Gradient,
        *,
        shape: tuple[int, int, int],
        labels: Tensor | None = None,
        images: int = 1,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        statistics: Sequence[Tensor] = (),
    ) -> Self:
        """What one client shared: a gradient, say as `torch.autograd.grad(loss, network.parameters())` returns it.
        Without `mean` and `std` the network takes images in [0, 1] as they are.
        """
        return cls(
            tensors=tuple(tensor.detach()[None] for tensor in tensors),
            images=images,
            shape=shape,
            mean=mean or (0,) * shape[0],
            std=std or (1,) * shape[0],
            statistics=tuple(tensor.detach()[None] for tensor in statistics),
            labels=None if labels is None else labels[None],
        )


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The result for every client."""

    images: Tensor
    """Selected images [clients, n, 3, h, w] in normalised coordinates; not a number where every restart failed."""
    labels: Tensor
    """The labels that the attack used, or found, [clients, n]; −1 of an attack that does neither."""
    matching_cost: Tensor
    """Final matching cost of every restart without the prior, [clients, restarts]; not finite where it failed, not a
    number of an attack that matches nothing.
    """
    iterations: Tensor
    """How many iterations every restart took, [clients, restarts]."""
    selected: Tensor
    """The selected restart [clients]; −1 where every restart failed or the restarts were averaged."""
    trajectory: Tensor = field(default_factory=partial(torch.empty, 0))
    """The candidates of every restart on the way, [clients, restarts, points, n, 3, h, w], float16, on the CPU, in
    normalised coordinates; no points without snapshots.
    """
    trajectory_cost: Tensor = field(default_factory=partial(torch.empty, 0))
    """The matching cost of exactly these candidates, [clients, restarts, points], on the CPU. With `layers` drawn anew
    for every iteration it is of the layers drawn then; that of the last point is the final one, of all layers.
    """
    trajectory_iteration: Tensor = field(default_factory=partial(torch.empty, 0, dtype=torch.long))
    """After how many iterations they were kept, int64 [points]. A trial that came to rest before stays as it was."""


def reconstruct(
    network: nn.Module,
    client: Client,
    shared: Shared,
    attack: Attack,
    *,
    seed_key: str,
    start: Tensor | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
    keeper: Keeper | None = None,
) -> Reconstruction:
    """Attack every client in `shared` and return the selected reconstructions.

    `network` is the victim in evaluation mode on the device to compute on; a copy in the attack's precision is used.
    Restart r of client c starts from noise that depends on (`seed_key`, name of c, r) alone, or from `start`
    [clients, restarts, n, 3, h, w] if given. Trials do not influence each other; as many run at once as pay and fit
    into `memory` bytes (by default 2 GiB on a CPU, most of what is free on a GPU), but at least one. With a `keeper`
    the attack goes on from the state that this one kept, of the same arguments, and ends as if it had not been stopped.
    Raises `SettingsError` if labels must be inferred and cannot be.
    """
    device = next(network.parameters()).device
    with arithmetic(attack.precision, attack.deterministic, device):
        begin = draw_starts(shared, attack, seed_key) if start is None else start
        expected = (len(shared), attack.restarts, shared.images, *shared.shape)
        if tuple(begin.shape) != expected:
            raise SettingsError(f"start: {list(begin.shape)} instead of {list(expected)}")
        server = _Server(network, client, shared, attack, seed_key)
        outcomes = server.run(begin.flatten(0, 1), budget(device) if memory is None else memory, progress, keeper)
    joined = (torch.cat(each).unflatten(0, (len(shared), attack.restarts)) for each in zip(*outcomes, strict=True))
    ended = _Outcome(*joined)
    images, selected = select(ended.images, ended.matching_cost, attack)
    shown = torch.where(selected >= 0, selected, ended.matching_cost.nan_to_num(torch.inf).argmin(1))
    labels = ended.labels[torch.arange(len(shared), device=device), shown]
    return Reconstruction(
        images=images,
        labels=labels,
        matching_cost=ended.matching_cost,
        iterations=ended.iterations,
        selected=selected,
        trajectory=ended.trajectory,
        trajectory_cost=ended.trajectory_cost,
        trajectory_iteration=torch.tensor(moments(attack), dtype=torch.long),
    )


def draw_starts(shared: Shared, attack: Attack, seed_key: str) -> Tensor:
    """The start of every trial, [clients, restarts, n, 3, h, w], float32 on the CPU."""
    shape = (shared.images, *shared.shape)
    drawn = [
        draw(attack.start, shape, shared.mean, shared.std, seeds.generator(seed_key, shared.name(client), restart))
        for client in range(len(shared))
        for restart in range(attack.restarts)
    ]
    return torch.stack(drawn).reshape(len(shared), attack.restarts, *shape)


def milestones(iterations: int) -> tuple[int, int, int]:
    """The iterations from which on the step size is 10, 100 and 1000 times smaller: near 3/8, 5/8 and 7/8, with the
    released code's rounding.
    """
    return int(iterations // 2.667), int(iterations // 1.6), int(iterations // 1.142)


def moments(attack: Attack) -> list[int]:
    """After how many iterations the candidates are kept: evenly spread, the first 0, the last all iterations; a single
    one is the last, and there are no more than there are different ones.
    """
    spread = torch.linspace(attack.iterations, 0, attack.snapshots, dtype=torch.float64)
    kept: list[int] = spread.round().long().unique().tolist()
    return kept


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


class _Outcome(NamedTuple):
    """How a batch of trials ended: for each, its images, the labels that it used, its cost, its iterations, and its
    images and costs on the way.
    """

    images: Tensor
    labels: Tensor
    matching_cost: Tensor
    iterations: Tensor
    trajectory: Tensor
    trajectory_cost: Tensor


class _Server:
    """Runs trials, numbered client by client and restart by restart."""

    def __init__(self, network: nn.Module, client: Client, shared: Shared, attack: Attack, seed_key: str) -> None:
        check(network, client, shared)
        if attack.batch_statistics and (client.statistics == "withheld" or not shared.statistics):
            raise SettingsError("batch_statistics: the clients sent no batch-norm statistics (nearest: 0)")
        parameter = next(network.parameters())
        self._device, self._dtype = parameter.device, dtype_of(attack.precision)
        if parameter.dtype != self._dtype:
            network = copy.deepcopy(network).to(self._dtype)
        self._network, self._shared, self._attack, self._seed_key = network, shared, attack, seed_key
        shape = (shared.images, *shared.shape)
        self._classes = _classes(network, parameter.new_zeros(shape, dtype=self._dtype))
        self._labels = known_labels(network, client, shared, attack, self._classes)
        self._objective = objective_for(
            network, client, attack.distance, attack.total_variation, shape, attack.batch_statistics
        )

    def run(
        self, starts: Tensor, memory: int, progress: Progress | None, keeper: Keeper | None = None
    ) -> list[_Outcome]:
        """Optimise all trials from `starts` [trials, n, 3, h, w], in batches that fit into `memory` bytes."""
        total = len(starts) * self._attack.iterations
        kept = (keeper.kept() if keeper else None) or {}
        outcomes = self._ended(kept)
        for batch in in_batches(len(starts), *self._size_and_first(starts, memory, kept)):
            with batch as which:
                trials = len(starts[which])

                def show(way: Running, matching: Tensor, which: slice = which, trials: int = trials) -> None:
                    if progress:
                        progress(which.start * self._attack.iterations + way.done * trials, total, matching)
                    if keeper and keeper.due():
                        keeper.keep(_state(outcomes, which, way))

                state = kept if kept and kept["batch"].tolist() == [which.start, which.stop] else {}
                outcomes.append(self._batch(starts, which, self._attack.iterations, moments(self._attack), state, show))
        if keeper:  # at a batch after the last, of which nothing is left to do
            keeper.keep(_state(outcomes, slice(len(starts), len(starts) + 1)))
        return outcomes

    def _ended(self, kept: Mapping[str, Tensor]) -> list[_Outcome]:
        """How the trials before the batch at hand ended."""
        if f"ended.{_Outcome._fields[0]}" not in kept:
            return []
        ended = {name: kept[f"ended.{name}"] for name in _Outcome._fields}
        on_device = {name: each.to(self._device) for name, each in ended.items() if not name.startswith("trajectory")}
        return [_Outcome(**ended | on_device)]

    def _size_and_first(self, starts: Tensor, memory: int, kept: Mapping[str, Tensor]) -> tuple[int, int]:
        """How many trials run together, and the first that has not ended. A stopped attack goes on with the batches
        that it had: what fits into memory may have changed, and other batches are rounded in another way.
        """
        if kept:
            first, last = kept["batch"].tolist()
            return last - first, first
        if not runs_together(self._network):
            return 1, 0

        def attempt(few: int) -> _Outcome:
            # Snapshots do not count: they stay until the end, and must not change which trials run together.
            return self._batch(starts, slice(0, few), 1, (), {}, lambda way, matching: None)

        return fitting(attempt, len(starts), self._device, memory), 0

    def _batch(
        self,
        starts: Tensor,
        which: slice,
        iterations: int,
        moments: Sequence[int],
        kept: Mapping[str, Tensor],
        show: Callable[[Running, Tensor], None],
    ) -> _Outcome:
        numbers = range(len(starts))[which]
        trials = self._objective.prepared(self._trials(numbers))
        way = self._start(starts[which], numbers, moments)
        if kept:
            way.restore(kept)
        for matching in self._optimise(way, trials, iterations):
            way.advance(matching)
            show(way, matching)
        cost = self._objective.matching_cost(way.images, way.labels, trials)
        way.snapshots.end(way.done, way.images, cost)
        used = way.labels.argmax(-1) if way.labels.is_floating_point() else way.labels
        return _Outcome(way.images, used, cost, way.taken, way.snapshots.images, way.snapshots.cost)

    def _start(self, starts: Tensor, numbers: Sequence[int], moments: Sequence[int]) -> Running:
        images = starts.to(self._device, self._dtype, copy=True)
        labels = self._start_labels(numbers, images.shape[1])
        redrawn = self._attack.layers.redrawn
        return Running(
            images=images,
            labels=labels,
            stepper=stepper(self._attack.optimiser, [images, labels] if labels.is_floating_point() else [images]),
            snapshots=Snapshots(moments, images),
            generators=[self._generator("layers", number) for number in numbers] if redrawn else [],
            going_on=torch.ones(len(images), dtype=torch.bool, device=self._device),
            taken=torch.zeros(len(images), dtype=torch.long, device=self._device),
        )

    def _optimise(self, way: Running, trials: Targets, iterations: int) -> Iterator[Tensor]:
        """Change the candidates, and soft labels, in place, from the iteration that the batch has come to; yields the
        matching costs before each.
        """
        attack, images, labels = self._attack, way.images, way.labels
        low, high = box(*(images.new_tensor(each)[:, None, None] for each in (self._shared.mean, self._shared.std)))
        variables = [images, labels] if labels.is_floating_point() else [images]
        drops = milestones(iterations) if attack.step_decay else ()
        trials = replace(trials, chosen=trials.chosen.clone())
        evaluation = repeated(partial(self._objective.gradient, images, labels, trials), self._device)
        for iteration in range(way.done, iterations):
            if attack.layers.redrawn:
                trials.chosen.copy_(self._chosen(trials.target, way.generators))
            matching: list[Tensor] = []

            def evaluate(matching: list[Tensor] = matching) -> tuple[Tensor, list[Tensor]]:
                found = evaluation()
                matching.append(found.matching)
                return found.objective, [
                    each for each in (found.image_gradient, found.label_gradient) if each is not None
                ]

            before = [] if attack.tolerance is None else [variable.clone() for variable in variables]
            way.stepper.step(evaluate, decay=0.1 ** sum(iteration >= drop for drop in drops))
            if attack.box:
                torch.clamp(images, low, high, out=images)
            if attack.median_filter_every and (iteration + 1) % attack.median_filter_every == 0:
                images.copy_(median_filter(images))
            if attack.tolerance is not None:
                way.going_on = way.going_on & (matching[0] > attack.tolerance)
                for variable, rested in zip(variables, before, strict=True):
                    moved = way.going_on.view(-1, *[1] * (variable.dim() - 1))
                    variable.copy_(torch.where(moved, variable, rested))
                if not way.going_on.any():
                    return
            yield matching[0]

    def _trials(self, numbers: Sequence[int]) -> Targets:
        clients = [number // self._attack.restarts for number in numbers]
        target, statistics = (
            tuple(tensor[clients].to(self._device, self._dtype) for tensor in tensors)
            for tensors in (self._shared.tensors, self._shared.statistics)
        )
        weights = layer_weights(self._attack.weighting, target)
        everything = target[0].new_ones(len(numbers), len(target))
        generators = [self._generator("layers", number) for number in numbers]
        return Targets(
            target=target,
            squares=squares(target),
            weights=weights.expand(len(numbers), -1),
            chosen=everything if self._attack.layers.redrawn else self._chosen(target, generators),
            statistics=statistics,
        )

    def _chosen(self, target: Gradient, generators: Sequence[torch.Generator]) -> Tensor:
        """1 for the layers that count, [trials, layers]."""
        masks = [
            layer_mask(self._attack.layers, [tensor[trial] for tensor in target], generator)
            for trial, generator in enumerate(generators)
        ]
        return torch.stack(masks).to(self._device)

    def _start_labels(self, numbers: Sequence[int], images: int) -> Tensor:
        """Class indices [trials, n], or soft labels [trials, n, classes] to be optimised."""
        if self._labels is not None:
            return self._labels.to(self._device)[[number // self._attack.restarts for number in numbers]]
        drawn = [torch.randn(images, self._classes, generator=self._generator("labels", n)) for n in numbers]
        return torch.stack(drawn).to(self._device, self._dtype)

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        client, restart = divmod(number, self._attack.restarts)
        return seeds.generator(self._seed_key, self._shared.name(client), restart, purpose)


def _state(outcomes: Sequence[_Outcome], which: slice, way: Running | None = None) -> dict[str, Tensor]:
    """All that the rest of an attack depends on, besides its arguments: the outcomes of the trials before the batch
    `which`, and how far that has come, if there is any left.
    """
    joined = zip(_Outcome._fields, map(torch.cat, zip(*outcomes, strict=True)), strict=True) if outcomes else ()
    ended = {f"ended.{name}": tensor for name, tensor in joined}
    return {"batch": torch.tensor([which.start, which.stop]), **ended, **(way.tensors() if way else {})}


@torch.no_grad()
def _classes(network: nn.Module, images: Tensor) -> int:
    """The number of classes of a network that takes such images."""
    return int(network(images).shape[1])


def known_labels(network: nn.Module, client: Client, shared: Shared, attack: Attack, classes: int) -> Tensor | None:
    """The labels [clients, n] that the server knows or infers; None if the attack is to optimise them."""
    if shared.labels is not None:
        if not (int(shared.labels.min()) >= 0 and int(shared.labels.max()) < classes):
            raise SettingsError(f"labels: must lie in 0..{classes - 1}, got {shared.labels.unique().tolist()}")
        return shared.labels
    if attack.unknown_labels == "optimised":
        return None
    if client.kind != "gradient":
        raise SettingsError("unknown_labels: labels can be inferred from a gradient only (nearest: optimised)")
    if shared.images > classes:
        raise SettingsError(f"unknown_labels: {shared.images} images cannot have distinct labels (nearest: optimised)")
    matrices = [index for index, parameter in enumerate(network.parameters()) if parameter.dim() == 2]
    if not matrices or shared.tensors[matrices[-1]].shape[1] != classes:
        raise SettingsError("unknown_labels: the network has no last linear layer to infer from (nearest: optimised)")
    inferred: Tensor = infer_labels(shared.tensors[matrices[-1]], shared.images)
    return inferred


def check(network: nn.Module, client: Client, shared: Shared) -> None:
    """Raise `SettingsError` if these do not belong together."""
    training = [name or "the network" for name, module in network.named_modules() if module.training]
    if training:
        raise SettingsError(f"network: {training[0]} is in training mode; call network.eval() (batch-norm: see client)")
    try:
        client.check(shared.images)
    except ValueError as error:
        raise SettingsError(f"client: {error}") from None
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    if len(shared.tensors) != len(shapes):
        raise SettingsError(f"shared: {len(shared.tensors)} tensors, but the network has {len(shapes)} parameters")
    for (name, shape), tensor in zip(shapes.items(), shared.tensors, strict=True):
        if tuple(tensor.shape) != (len(shared), *shape):
            raise SettingsError(f"shared: {name} is {list(tensor.shape)} instead of {[len(shared), *shape]}")
    if shared.labels is not None and tuple(shared.labels.shape) != (len(shared), shared.images):
        raise SettingsError(f"labels: {list(shared.labels.shape)} instead of {[len(shared), shared.images]}")
    if len(shared.mean) != shared.shape[0] or len(shared.std) != shared.shape[0]:
        raise SettingsError(f"shared: mean and std must have {shared.shape[0]} values, one for each channel")
