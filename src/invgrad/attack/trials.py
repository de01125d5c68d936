"""Trials of an attack: every restart of every client, numbered client by client and restart by restart."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from invgrad import seeds
from invgrad.attack.constraints import box
from invgrad.attack.initialisation import draw
from invgrad.attack.labels import known_labels
from invgrad.attack.optimisers import stepper
from invgrad.attack.settings import Attack
from invgrad.attack.state import BatchState, Snapshots, moments
from invgrad.clients.differentiation import refuse_foreign_parameters
from invgrad.clients.loss import Gradient, trainable
from invgrad.clients.protocols import sent_statistics
from invgrad.clients.settings import Client
from invgrad.clients.shared import Shared
from invgrad.networks.copying import copied, unwrapped
from invgrad.networks.logits import logits_of
from invgrad.objective.build import objective_for
from invgrad.objective.distances import InnerProductDistance, distance_of, squares
from invgrad.objective.layer_weights import layer_mask, layer_weights
from invgrad.objective.targets import Targets
from invgrad.runtime.devices import dtype_of
from invgrad.settings import SettingsError
from invgrad.tangent.scale import at_unit_scale


class Trials:
    """The trials of an attack: the initial images and the target of each."""

    def __init__(
        self, network: nn.Module, client: Client, shared: Shared, attack: Attack, seed_key: str, start: Tensor | None
    ) -> None:
        """Take the arguments of `invgrad.attack.run.reconstruct`."""
        if attack.batch_statistics and (client.statistics == "withheld" or not shared.statistics):
            raise SettingsError("batch_statistics: the clients sent no batch-norm statistics (nearest: 0)")
        if attack.median_filter_every and min(shared.shape[1:]) < 2:
            raise SettingsError(f"median_filter_every: takes images of 2×2 pixels and more, not {shared.shape[1:]}")
        parameter = next(network.parameters())
        self.device, self._dtype = parameter.device, dtype_of(attack.precision)
        copy = copied(unwrapped(network))  # since a forward pass may change it
        self.network = copy.double() if self._dtype == torch.float64 else copy.float()  # `to` drops imaginary parts
        self.attack, self._shared, self._seed_key = attack, shared, seed_key
        self._start = self._checked(start)
        mean, std = (parameter.new_tensor(each, dtype=self._dtype)[:, None, None] for each in (shared.mean, shared.std))
        self.bounds = box(mean, std) if attack.box else None
        shape = (shared.images, *shared.shape)
        images = parameter.new_zeros(shape, dtype=self._dtype)
        self._classes = logits_of(self.network, images).shape[1]
        refuse_foreign_parameters(self.network, images)
        if attack.batch_statistics:
            self._check_statistics(sent_statistics(client, self.network)(trainable(self.network), images))
        self._labels = known_labels(self.network, client, shared, attack, self._classes)
        self.objective = objective_for(
            self.network, client, attack.distance, attack.total_variation, shape, attack.batch_statistics, len(self)
        )

    def __len__(self) -> int:
        return len(self._shared) * self.attack.restarts

    def targets(self, which: slice) -> Targets:
        """Return the targets of these trials."""
        numbers = range(len(self))[which]
        clients = [number // self.attack.restarts for number in numbers]
        shared, sent = (
            tuple(tensor[clients].to(self.device) for tensor in tensors)
            for tensors in (self._shared.tensors, self._shared.statistics)
        )
        if isinstance(distance_of(self.attack.distance), InnerProductDistance):
            shared = at_unit_scale(shared)  # a lower precision may not reach its own scale
        target, statistics = (tuple(tensor.to(self._dtype) for tensor in tensors) for tensors in (shared, sent))
        weights = layer_weights(self.attack.weighting, target)
        everything = target[0].new_ones(len(numbers), len(target))
        generators = [self._generator("layers", number) for number in numbers]
        return self.objective.prepared(
            Targets(
                target=target,
                squares=squares(target),
                weights=weights.expand(len(numbers), -1),
                chosen=everything if self.attack.layers.redrawn else self.chosen(target, generators),
                statistics=statistics,
            )
        )

    def chosen(self, target: Gradient, generators: Sequence[torch.Generator]) -> Tensor:
        """Return 1 for the layers that count, else 0, [trials, layers]; each trial's generator draws random choices."""
        masks = [
            layer_mask(self.attack.layers, [tensor[trial] for tensor in target], generator)
            for trial, generator in enumerate(generators)
        ]
        return torch.stack(masks).to(self.device)

    def begin(self, which: slice, attack: Attack) -> BatchState:
        """Create the state of these trials before their first iteration, with room for `attack`'s snapshots."""
        numbers = range(len(self))[which]
        images = self._start[which].to(self.device, self._dtype, copy=True)
        labels = self._start_labels(numbers, images.shape[1])
        variables = [images, labels] if labels.is_floating_point() else [images]
        return BatchState(
            images=images,
            labels=labels,
            stepper=stepper(attack.optimiser, variables),
            snapshots=Snapshots(moments(attack), images),
            generators=[self._generator("layers", number) for number in numbers] if attack.layers.redrawn else [],
            running=torch.ones(len(images), dtype=torch.bool, device=self.device),
            taken=torch.zeros(len(images), dtype=torch.long, device=self.device),
        )

    def _checked(self, start: Tensor | None) -> Tensor:
        """Return the initial images of every trial, [trials, n, 3, h, w]; `SettingsError` for another shape."""
        if start is None:
            start = draw_starts(self._shared, self.attack, self._seed_key)
        expected = (len(self._shared), self.attack.restarts, self._shared.images, *self._shared.shape)
        if tuple(start.shape) != expected:
            raise SettingsError(f"start: {list(start.shape)} instead of {list(expected)}")
        return start.flatten(0, 1)

    def _check_statistics(self, expected: Sequence[Tensor]) -> None:
        """Raise `SettingsError` unless what the clients sent has the shapes of these."""
        shapes = [list(each.shape) for each in expected]
        if (sent := [list(each.shape[1:]) for each in self._shared.statistics]) != shapes:
            raise SettingsError(
                f"statistics: of shapes {sent} instead of {shapes}; give the mean and the variance of each batch-norm "
                "layer's input in turn"
            )

    def _start_labels(self, numbers: Sequence[int], images: int) -> Tensor:
        """Return class indices [trials, n], or drawn soft labels [trials, n, classes] to be optimised."""
        if self._labels is not None:
            return self._labels.to(self.device)[[number // self.attack.restarts for number in numbers]]
        drawn = [
            torch.randn(images, self._classes, generator=self._generator("labels", number), device="cpu")
            for number in numbers
        ]
        return torch.stack(drawn).to(self.device, self._dtype)

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        client, restart = divmod(number, self.attack.restarts)
        return seeds.generator(self._seed_key, self._shared.name(client), restart, purpose)


def draw_starts(shared: Shared, attack: Attack, seed_key: str) -> Tensor:
    """Draw the initial images of every trial, [clients, restarts, n, 3, h, w], float32 on the CPU."""
    shape = (shared.images, *shared.shape)
    drawn = [
        draw(attack.start, shape, shared.mean, shared.std, seeds.generator(seed_key, shared.name(client), restart))
        for client in range(len(shared))
        for restart in range(attack.restarts)
    ]
    return torch.stack(drawn).reshape(len(shared), attack.restarts, *shape)
