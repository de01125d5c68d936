"""The gradient of a function of the parameter gradient with respect to the images, without a double backward pass.

Let G(x) be the gradient of the loss L(x, θ) with respect to the parameters θ, and D a function of G with v = ∂D/∂G.
Then ∂D/∂x = ∂/∂x ⟨∇θ L, v⟩ = d/dt ∇x L(x, θ + t·v) at t = 0: the tangent of the image gradient as the parameters move
along v. With a dot for d/dt, four passes through the network give it exactly:

1. forward: every layer's output z from its input a;
2. backward: δ, the loss gradient at every output, and from it G;
3. tangent forward: ż from ȧ and v, starting from ȧ = 0 at the images;
4. tangent backward: δ̇, starting from the tangent of the loss gradient at the logits; at the images it is ∂D/∂x.

ReLU masks and the winners of max-pooling stay those of the forward pass, as in automatic differentiation.

All trials run at once. Activations have shape [trials·n, …]: what all trials share (θ) is applied to all their images in
one operation. G and v belong to a trial, [trials, *parameter.shape].
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

Saved = tuple[Tensor, ...]
"""What a layer keeps of the forward pass."""


class Layer:
    """The formulas of one layer. Those given here are the identity's; a step that adds two branches uses them.

    A layer without parameters is differentiable and linear around its input, unless it says otherwise, so its tangent
    passes are its ordinary ones: subclasses give `forward`, `_push` and `backward`.
    """

    parameters: tuple[nn.Parameter, ...] = ()

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z, and what the other formulas need to know of a."""
        return inputs, ()

    def backward(self, saved: Saved, slope: Tensor) -> Tensor:
        """The loss gradient at the layer's input, from δ at its output."""
        return slope

    def gradient(self, saved: Saved, slope: Tensor, trials: int) -> Sequence[Tensor]:
        """G [trials, *shape] for each of `parameters`, from δ at the layer's output."""
        return ()

    def tangent_forward(self, saved: Saved, tangent: Tensor | None, direction: Sequence[Tensor]) -> Tensor | None:
        """ż from ȧ and v, one tensor [trials, *shape] for each of `parameters`. None stands for zero."""
        return None if tangent is None else self._push(saved, tangent)

    def tangent_backward(
        self, saved: Saved, tangent: Tensor | None, slope: Tensor, slope_tangent: Tensor, direction: Sequence[Tensor]
    ) -> Tensor:
        """The tangent of what `backward` returns, from ȧ at the layer's input, δ and δ̇ at its output, and v."""
        return self.backward(saved, slope_tangent)

    def _push(self, saved: Saved, tangent: Tensor) -> Tensor:
        return tangent


class Convolution(Layer):
    """z = W∗a + b; δ_in = Wᵀ∗δ; G_W = δ∗a, G_b = Σδ; ż = W∗ȧ + v_W∗a + v_b; δ̇_in = Wᵀ∗δ̇ + v_Wᵀ∗δ.

    What is different for every trial (G_W, v_W∗a and v_Wᵀ∗δ) would be a grouped convolution, which is slow. Several
    trials therefore unfold a once, so that it is a batched matrix product; a single trial uses the library's kernels.
    """

    def __init__(self, module: nn.Conv2d) -> None:
        self.weight = module.weight
        self.parameters = (module.weight,) if module.bias is None else (module.weight, module.bias)
        self.stride = cast(tuple[int, int], module.stride)
        self.padding = cast(tuple[int, int], module.padding)
        self.circular = (0, 0)
        if module.padding_mode == "circular":
            self.circular, self.padding = self.padding, (0, 0)

    @staticmethod
    def supports(module: nn.Conv2d) -> bool:
        """Not: groups, dilation, padding by name, reflection, replication."""
        plain = module.groups == 1 and module.dilation == (1, 1) and not isinstance(module.padding, str)
        return plain and module.padding_mode in ("zeros", "circular")

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """Saves a (with its circular border) for one trial, the unfolded a for several; and an empty tensor of a's
        shape.
        """
        inputs = self._wrap(inputs)
        outputs = self._convolve(inputs, *self.parameters)
        return outputs, (inputs if trials == 1 else self._unfold(inputs), inputs.new_empty(0).expand(0))
