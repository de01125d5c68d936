"""The objective and its gradient for the many trials of a small network on a CPU, by its compiled program."""

from dataclasses import replace

import torch
from torch import Tensor

from invgrad.objective.by_tangents import of_soft_labels
from invgrad.objective.evaluation import Evaluation
from invgrad.objective.settings import Distance
from invgrad.objective.targets import Targets
from invgrad.tangent.program import Matched, Program


class CompiledObjective:
    """The values of `Objective`, up to rounding, by a program (see `invgrad.tangent.program`)."""

    def __init__(self, program: Program, distance: Distance, total_variation_weight: float) -> None:
        """Take a `distance` of `invgrad.tangent.program.DISTANCES`."""
        self._program = program
        self._distance = distance.kind
        self._total_variation_weight = total_variation_weight
        self.at_once = None
        """Trials that run at once; None for as many as fit into memory."""

    def prepared(self, targets: Targets) -> Targets:
        """Return the targets with what the program reads of them."""
        return replace(targets, packed=self._program.packed(targets.target))

    @torch.no_grad()
    def gradient(self, images: Tensor, labels: Tensor, targets: Targets) -> Evaluation:
        """Evaluate candidate images [trials, n, 3, h, w]."""
        packed = self._program.packed(targets.target) if targets.packed is None else targets.packed
        matched = Matched(packed, targets.squares, targets.weights, targets.chosen)
        soft = labels.is_floating_point()
        expected = labels.softmax(-1) if soft else labels
        found = self._program.step(images, expected, matched, self._distance, self._total_variation_weight)
        label_gradient = of_soft_labels(expected, found.probabilities) if soft else None
        return Evaluation(found.images, label_gradient, found.objective, found.matching)

    def matching_cost(self, images: Tensor, labels: Tensor, targets: Targets) -> Tensor:
        """Return the gradient-matching loss without the priors, [trials], of images [trials, n, 3, h, w]."""
        return self.gradient(images, labels, targets).matching
