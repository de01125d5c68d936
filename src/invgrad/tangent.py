"""The gradient of a function of the parameter gradient with respect to the images, without a double backward pass.

Let G(x) be the gradient of the loss L(x, θ) with respect to the parameters θ, and D a function of G with v = ∂D/∂G.
Then ∂D/∂x = ∂/∂x ⟨∇θ L, v⟩ = d/dt ∇x L(x, θ + t·v) at t = 0: the tangent of the image gradient as the parameters move
along v. With a dot for d/dt, four passes through the network give it exactly:

1. forward: every layer's output z from its input a;
2. backward: δ, the loss gradient at every layer's output, and from it G;
3. tangent forward: ż from ȧ and v, starting from ȧ = 0 at the images;
4. tangent backward: δ̇, starting from the tangent of the loss gradient at the logits; at the images it is ∂D/∂x.

ReLU masks and the winners of max-pooling stay those of the forward pass, as in automatic differentiation.

All trials run at once. Activations have shape [trials·n, …]: what the trials share (θ) is applied to all their images
in one operation. G and v differ between trials, [trials, *parameter.shape].
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from invgrad.lanes import Lanes, first_fastest, usable
from invgrad.networks import is_narrow

Saved = tuple[Tensor, ...]
"""What a layer keeps of the forward pass."""

PerTrial = Sequence[Tensor]
"""G or v of a layer: [trials, *parameter.shape] for each of its parameters."""


class Layer:
    """The formulas of one kind of layer; those given here are the identity's.

    A layer without parameters is linear around its input unless it says otherwise: its tangent passes are its ordinary
    ones, so it gives `forward`, `push` and `backward`.
    """

    parameters: tuple[Tensor, ...] = ()

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z from a, and what the other formulas need to know of it."""
        return inputs, ()

    def backward(self, saved: Saved, slope: Tensor) -> Tensor:
        """δ at the layer's input from δ at its output."""
        return slope

    def gradient(self, saved: Saved, slope: Tensor, trials: int) -> PerTrial:
        """G for each of `parameters`, from δ at the layer's output."""
        return ()

    def push(self, saved: Saved, tangent: Tensor) -> Tensor:
        """ż from ȧ while the parameters rest."""
        return tangent

    def tangent_forward(self, saved: Saved, tangent: Tensor | None, direction: PerTrial) -> Tensor | None:
        """ż from ȧ (None stands for zero) and v, for each of `parameters`."""
        return None if tangent is None else self.push(saved, tangent)

    def tangent_backward(
        self, saved: Saved, tangent: Tensor | None, slope: Tensor, slope_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇ at the layer's input from ȧ there, δ and δ̇ at its output, and v."""
        return self.backward(saved, slope_tangent)


class Convolution(Layer):
    """z = W∗a + b, with zeros or the opposite side beyond the border.

    Where every trial has a kernel of its own (G_W, v_W∗a, v_Wᵀ∗δ), several trials would need grouped convolutions,
    which are slow: they unfold a once and take batched matrix products. A single trial takes convolutions throughout
    (no layer of a wide network was faster unfolded).
    """

    def __init__(self, module: nn.Conv2d) -> None:
        self.parameters = tuple(module.parameters())
        self.weight = module.weight.detach()
        self.bias = None if module.bias is None else module.bias.detach()
        self.kernel, self.stride = _pair(module.kernel_size), _pair(module.stride)
        self.padding, self.border = _pair(module.padding), (0, 0)
        if module.padding_mode == "circular":
            self.padding, self.border = self.border, self.padding

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = W∗a + b; saves a with its circular border and, for several trials, unfolded."""
        inputs = self._wrap(inputs)
        outputs = self._convolve(inputs, self.weight, self.bias)
        return outputs, (inputs,) if trials == 1 else (inputs, self._unfold(inputs))

    def backward(self, saved: Saved, slope: Tensor) -> Tensor:
        """δ_in = Wᵀ∗δ."""
        return self._unwrap(self._transposed(saved, self.weight, slope))

    def gradient(self, saved: Saved, slope: Tensor, trials: int) -> PerTrial:
        """G_W = δ∗a, G_b = Σδ."""
        inputs, *unfolded = saved
        if unfolded:
            weight = _columns(slope, trials) @ _columns(unfolded[0], trials).mT
        else:
            weight = conv2d_weight(inputs, self.weight.shape, slope, self.stride, self.padding)
        bias = () if self.bias is None else (_of_trials(slope, trials).sum((1, 3, 4)),)
        return weight.view(trials, *self.weight.shape), *bias

    def tangent_forward(self, saved: Saved, tangent: Tensor | None, direction: PerTrial) -> Tensor:
        """ż = W∗ȧ + v_W∗a + v_b."""
        inputs, *unfolded = saved
        outputs: Tensor
        if unfolded:
            weight, *bias = (_of_images(each.reshape(*each.shape[:2], -1), len(inputs)) for each in direction)
            columns = unfolded[0].flatten(2)
            product = torch.baddbmm(bias[0], weight, columns) if bias else weight.bmm(columns)
            outputs = product.unflatten(2, unfolded[0].shape[2:])
        else:
            outputs = self._convolve(inputs, direction[0][0], None if self.bias is None else direction[1][0])
        if tangent is not None:
            outputs += self._convolve(self._wrap(tangent), self.weight)
        return outputs

    def tangent_backward(
        self, saved: Saved, tangent: Tensor | None, slope: Tensor, slope_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = Wᵀ∗δ̇ + v_Wᵀ∗δ."""
        inputs, *unfolded = saved
        weight = direction[0]
        if not unfolded:
            back = self._transposed(saved, self.weight, slope_tangent) + self._transposed(saved, weight[0], slope)
            return self._unwrap(back)
        shared = self.weight.flatten(1).T.expand(len(slope), -1, -1)
        columns = shared.bmm(slope_tangent.flatten(2))
        columns.baddbmm_(_of_images(weight.flatten(2).mT, len(slope)), slope.flatten(2))
        return self._unwrap(F.fold(columns, inputs.shape[2:], self.kernel, padding=self.padding, stride=self.stride))

    def _convolve(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(inputs, weight, bias, self.stride, self.padding)

    def _transposed(self, saved: Saved, weight: Tensor, slope: Tensor) -> Tensor:
        back: Tensor = conv2d_input(saved[0].shape, weight, slope, self.stride, self.padding)
        return back

    def _unfold(self, inputs: Tensor) -> Tensor:
        """[images, inputs · kernel, height, width]: what each output pixel sees."""
        (high, wide), (down, right) = self.padding, self.stride
        padded = F.pad(inputs, (wide, wide, high, high))
        windows = padded.unfold(2, self.kernel[0], down).unfold(3, self.kernel[1], right)
        return windows.permute(0, 1, 4, 5, 2, 3).flatten(1, 3)

    def _wrap(self, inputs: Tensor) -> Tensor:
        """Continue the image with its opposite side, where the padding is circular."""
        for dim, border in zip((2, 3), self.border, strict=True):
            if border:
                inputs = inputs.index_select(dim, _circle(inputs.shape[dim], border, inputs.device))
        return inputs

    def _unwrap(self, slope: Tensor) -> Tensor:
        """The transpose of `_wrap`."""
        for dim, border in zip((2, 3), self.border, strict=True):
            if border:
                size = slope.shape[dim] - 2 * border
                shape = (*slope.shape[:dim], size, *slope.shape[dim + 1 :])
                slope = slope.new_zeros(shape).index_add_(dim, _circle(size, border, slope.device), slope)
        return slope


class LaneConvolution(Convolution):
    """The same formulas with the compiled kernels, for the many small images of a narrow network on the CPU."""

    def __init__(self, module: nn.Conv2d) -> None:
        super().__init__(module)
        self.lanes = Lanes(self.weight.shape, self.stride, self.padding)

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = W∗a + b; saves a with its circular border."""
        inputs = first_fastest(self._wrap(inputs))
        return self._biased(self.lanes.convolve(inputs, self.weight), self.bias), (inputs,)

    def gradient(self, saved: Saved, slope: Tensor, trials: int) -> PerTrial:
        """G_W = δ∗a, G_b = Σδ."""
        weight = _of_trials(self.lanes.gradient(saved[0], slope), trials).sum(1).contiguous()
        return (weight,) if self.bias is None else (weight, _of_trials(slope, trials).sum((1, 3, 4)))

    def tangent_forward(self, saved: Saved, tangent: Tensor | None, direction: PerTrial) -> Tensor:
        """ż = W∗ȧ + v_W∗a + v_b."""
        kernel, *bias = (_of_images(each, len(saved[0])) for each in direction)
        outputs = self._biased(self.lanes.convolve(saved[0], kernel), *bias)
        return outputs if tangent is None else outputs.add_(self.lanes.convolve(self._wrap(tangent), self.weight))

    def tangent_backward(
        self, saved: Saved, tangent: Tensor | None, slope: Tensor, slope_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = Wᵀ∗δ̇ + v_Wᵀ∗δ."""
        kernel = _of_images(direction[0], len(slope))
        inputs = self.lanes.transpose(slope, kernel, saved[0].shape)
        return self._unwrap(inputs.add_(self._transposed(saved, self.weight, slope_tangent)))

    def _transposed(self, saved: Saved, weight: Tensor, slope: Tensor) -> Tensor:
        return self.lanes.transpose(slope, weight, saved[0].shape)

    @staticmethod
    def _biased(outputs: Tensor, bias: Tensor | None = None) -> Tensor:
        return outputs if bias is None else outputs.add_(bias[..., None, None])


class Linear(Layer):
    """z = W·a + b, for a of any number of dimensions, features last."""

    def __init__(self, module: nn.Linear) -> None:
        self.parameters = tuple(module.parameters())
        self.weight = module.weight.detach()
        self.bias = None if module.bias is None else module.bias.detach()

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = W·a + b; saves a."""
        return F.linear(inputs, self.weight, self.bias), (inputs,)

    def backward(self, saved: Saved, slope: Tensor) -> Tensor:
        """δ_in = Wᵀ·δ."""
        return slope @ self.weight

    def gradient(self, saved: Saved, slope: Tensor, trials: int) -> PerTrial:
        """G_W = δ·aᵀ, G_b = Σδ."""
        slope = _rows(slope, trials)
        weight = slope.mT @ _rows(saved[0], trials)
        return (weight,) if self.bias is None else (weight, slope.sum(1))

    def tangent_forward(self, saved: Saved, tangent: Tensor | None, direction: PerTrial) -> Tensor:
        """ż = W·ȧ + v_W·a + v_b."""
        outputs = _rows(saved[0], len(direction[0])) @ direction[0].mT
        if self.bias is not None:
            outputs = outputs + direction[1][:, None]
        outputs = outputs.view(*saved[0].shape[:-1], -1)
        return outputs if tangent is None else outputs + tangent @ self.weight.T

    def tangent_backward(
        self, saved: Saved, tangent: Tensor | None, slope: Tensor, slope_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = Wᵀ·δ̇ + v_Wᵀ·δ."""
        return slope_tangent @ self.weight + (_rows(slope, len(direction[0])) @ direction[0]).view(saved[0].shape)


class BatchNorm(Layer):
    """z = γ·â + β with â = (a − mean)·r and r = 1/√(variance + ε), whose statistics do not depend on the images."""

    def __init__(self, module: nn.BatchNorm2d) -> None:
        self.parameters = (module.weight, module.bias)
        self.mean = cast(Tensor, module.running_mean)[:, None, None]
        self.rate = (cast(Tensor, module.running_var) + module.eps).rsqrt()[:, None, None]
        self.scale, self.shift = (parameter[:, None, None] for parameter in self.parameters)

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = γ·â + β; saves â."""
        normalised = (inputs - self.mean) * self.rate
        return torch.addcmul(self.shift, normalised, self.scale), (normalised,)

    def backward(self, saved: Saved, slope: Tensor) -> Tensor:
        """δ_in = γ·r·δ."""
        return slope * (self.scale * self.rate)

    def gradient(self, saved: Saved, slope: Tensor, trials: int) -> PerTrial:
        """G_γ = Σ δ·â, G_β = Σδ."""
        return tuple(_of_trials(each, trials).sum((1, 3, 4)) for each in (slope * saved[0], slope))

    def push(self, saved: Saved, tangent: Tensor) -> Tensor:
        """γ·r·ȧ."""
        return tangent * (self.scale * self.rate)

    def tangent_forward(self, saved: Saved, tangent: Tensor | None, direction: PerTrial) -> Tensor:
        """ż = γ·r·ȧ + v_γ·â + v_β."""
        scale, shift = (_of_images(each, len(saved[0]))[..., None, None] for each in direction)
        outputs = torch.addcmul(shift, saved[0], scale)
        return outputs if tangent is None else outputs.addcmul_(tangent, self.scale * self.rate)

    def tangent_backward(
        self, saved: Saved, tangent: Tensor | None, slope: Tensor, slope_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = γ·r·δ̇ + v_γ·r·δ."""
        scale = _of_images(direction[0], len(slope))[..., None, None]
        return (slope_tangent * self.scale).addcmul_(slope, scale).mul_(self.rate)


class Sigmoid(Layer):
    """z = σ(a), with σ' = σ(1 − σ) and σ'' = σ'(1 − 2σ)."""

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = σ(a); saves σ and σ'."""
        outputs = inputs.sigmoid()
        return outputs, (outputs, outputs * (1 - outputs))

    def backward(self, saved: Saved, slope: Tensor) -> Tensor:
        """δ_in = σ'·δ."""
        return saved[1] * slope

    def push(self, saved: Saved, tangent: Tensor) -> Tensor:
        """ż = σ'·ȧ."""
        return saved[1] * tangent

    def tangent_backward(
        self, saved: Saved, tangent: Tensor | None, slope: Tensor, slope_tangent: Tensor, direction: PerTrial
    ) -> Tensor:
        """δ̇_in = σ'·(δ̇ + (1 − 2σ)·ȧ·δ)."""
        if tangent is None:
            return self.backward(saved, slope_tangent)
        return torch.addcmul(slope_tangent, tangent * slope, 1 - 2 * saved[0]).mul_(saved[1])


class ReLU(Layer):
    """z = max(a, 0), with slope 0 at 0."""

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = m·a with the mask m; saves m."""
        outputs = inputs.relu()
        return outputs, (outputs.sign(),)

    def backward(self, saved: Saved, slope: Tensor) -> Tensor:
        """δ_in = m·δ."""
        return saved[0] * slope

    def push(self, saved: Saved, tangent: Tensor) -> Tensor:
        """ż = m·ȧ."""
        return saved[0] * tangent


class MaxPool(Layer):
    """z = the largest of each window of a. `pool` returns it and which pixel of the image it is."""

    def __init__(self, pool: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        self.pool = pool

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = the winners; saves which pixels they are, and a for its shape."""
        outputs, winners = self.pool(inputs)
        return outputs, (winners, inputs)

    def backward(self, saved: Saved, slope: Tensor) -> Tensor:
        """δ_in = the sum of the δ that a pixel won, else 0."""
        winners, inputs = saved
        flat = torch.zeros_like(inputs).flatten(2)
        return flat.scatter_add_(2, winners.flatten(2), slope.flatten(2)).view(inputs.shape)

    def push(self, saved: Saved, tangent: Tensor) -> Tensor:
        """ż = ȧ of the winners."""
        winners = saved[0]
        return tangent.flatten(2).gather(2, winners.flatten(2)).view(winners.shape)


class AveragePool(Layer):
    """z = the mean of each window of a, or of the whole image."""

    def __init__(self, module: nn.AvgPool2d | None = None) -> None:
        self.module = module

    def _window(self, inputs: Tensor) -> tuple[Any, ...]:
        """The arguments of torch's average pooling."""
        pool = self.module or nn.AvgPool2d((inputs.shape[2], inputs.shape[3]))
        places = (pool.kernel_size, pool.stride, pool.padding)
        return *map(_pair, places), pool.ceil_mode, pool.count_include_pad, pool.divisor_override

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z = the means; saves a for its shape."""
        return self.push((inputs,), inputs), (inputs,)

    def backward(self, saved: Saved, slope: Tensor) -> Tensor:
        """δ_in = every pixel's share of the δ of its windows."""
        inputs = saved[0]
        return cast(Tensor, torch.ops.aten.avg_pool2d_backward(slope, inputs, *self._window(inputs)))

    def push(self, saved: Saved, tangent: Tensor) -> Tensor:
        """ż = the means of ȧ."""
        return F.avg_pool2d(tangent, *self._window(tangent))


class Flatten(Layer):
    """z = a with all dimensions but the first as one."""

    def forward(self, inputs: Tensor, trials: int) -> tuple[Tensor, Saved]:
        """z; saves a for its shape."""
        return inputs.flatten(1), (inputs,)

    def backward(self, saved: Saved, slope: Tensor) -> Tensor:
        """δ_in = δ in a's shape."""
        return slope.reshape(saved[0].shape)

    def push(self, saved: Saved, tangent: Tensor) -> Tensor:
        """ż = ȧ, flat."""
        return tangent.flatten(1)


@dataclass(frozen=True)
class Step:
    """One layer of a network. Value 0 are the images, value i + 1 is what step i returns."""

    layer: Layer
    sources: tuple[int, ...]
    """The values whose sum is the layer's input."""
    moving: tuple[int, ...]
    """Those of them that depend on parameters."""
    positions: tuple[int, ...]
    """Where the layer's parameters stand among the network's."""


@dataclass(frozen=True)
class Tape:
    """What the tangent passes need to know of the ordinary ones."""

    images: int
    """Images per trial, n."""
    saved: list[Saved]
    """Of every step."""
    slopes: list[Tensor | None]
    """δ of every value; None where the value does not depend on parameters."""
    probabilities: Tensor
    """Of the classes, [trials·n, classes]."""


class Passes:
    """The four passes through a network, for its mean cross-entropy over the n images of a trial."""

    def __init__(self, steps: Sequence[Step]) -> None:
        """The last step returns the logits."""
        self._steps = steps

    def parameter_gradient(self, images: Tensor, labels: Tensor) -> tuple[tuple[Tensor, ...], Tape]:
        """The first two passes, for images [trials, n, 3, h, w] and labels [trials, n]: G in the order of the network's
        parameters, each [trials, *parameter.shape], and what `image_gradient` needs. Raises `ValueError` if the
        network broadcasts one branch to the shape of another.
        """
        trials, count = labels.shape
        values = [images.flatten(0, 1)]
        saved: list[Saved] = []
        for step in self._steps:
            inputs = [values[source] for source in step.sources]
            if len({each.shape for each in inputs}) > 1:
                raise ValueError("tangent passes add branches of one shape only")
            outputs, kept = step.layer.forward(reduce(torch.add, inputs), trials)
            values.append(outputs)
            saved.append(kept)
        probabilities = values[-1].softmax(1)
        hits = torch.zeros_like(probabilities).scatter_(1, labels.view(-1, 1), 1)
        slopes: list[Tensor | None] = [None] * len(values)
        slopes[-1] = (probabilities - hits) / count
        gradient: dict[int, Tensor] = {}
        for number, step in reversed(list(enumerate(self._steps))):
            slope = slopes[number + 1]
            if slope is not None:
                gradient |= zip(step.positions, step.layer.gradient(saved[number], slope, trials), strict=True)
                if step.moving:
                    _add(slopes, step.moving, step.layer.backward(saved[number], slope))
        return tuple(gradient[position] for position in sorted(gradient)), Tape(count, saved, slopes, probabilities)

    def image_gradient(self, tape: Tape, direction: PerTrial) -> Tensor:
        """The last two passes: ∂D/∂x [trials, n, 3, h, w] for v = ∂D/∂G in the order and shapes of G."""
        directions = [tuple(direction[position] for position in step.positions) for step in self._steps]
        values: list[Tensor | None] = [None]
        arriving: list[Tensor | None] = []
        for step, saved, each in zip(self._steps, tape.saved, directions, strict=True):
            arriving.append(_total(values, step.moving))
            values.append(step.layer.tangent_forward(saved, arriving[-1], each))
        shares = tape.probabilities * cast(Tensor, values[-1])
        slopes: list[Tensor | None] = [None] * len(values)
        slopes[-1] = (shares - tape.probabilities * shares.sum(1, keepdim=True)) / tape.images
        for number, step in reversed(list(enumerate(self._steps))):
            saved, slope, slope_tangent = tape.saved[number], tape.slopes[number + 1], cast(Tensor, slopes[number + 1])
            if slope is None:
                back = step.layer.backward(saved, slope_tangent)
            else:
                back = step.layer.tangent_backward(saved, arriving[number], slope, slope_tangent, directions[number])
            _add(slopes, step.sources, back)
        return _of_trials(cast(Tensor, slopes[0]), len(direction[0]))


def trace(network: nn.Module) -> Passes | None:
    """The passes through a network in evaluation mode, or None if it does anything that is not known here."""
    # Tracing does not see hooks.
    if any(module.training or module._forward_hooks or module._forward_pre_hooks for module in network.modules()):
        return None
    try:
        nodes = list(fx.Tracer().trace(network).nodes)
    except Exception:  # tracing runs the network's own code, which may fail in any way
        return None
    narrow = is_narrow(network)
    images, *inner, output = nodes
    numbers = {id(parameter): number for number, parameter in enumerate(network.parameters())}
    place, moving, steps = {images: 0}, set[fx.Node](), list[Step]()
    for node in inner:
        layer = _layer(node, network, narrow)
        if layer is None or not node.users:
            return None
        sources = [argument for argument in node.args if isinstance(argument, fx.Node)]
        step = Step(
            layer=layer,
            sources=tuple(place[source] for source in sources),
            moving=tuple(place[source] for source in sources if source in moving),
            positions=tuple(numbers[id(parameter)] for parameter in layer.parameters),
        )
        if step.moving or step.positions:
            moving.add(node)
        steps.append(step)
        place[node] = len(steps)
    used = sorted(position for step in steps for position in step.positions)
    each_parameter_once = used == list(range(len(numbers)))
    return Passes(steps) if each_parameter_once and output.args == (inner[-1],) else None


def _layer(node: fx.Node, network: nn.Module, narrow: bool) -> Layer | None:
    """The layer of a traced operation, None if it is not known here."""
    arguments = tuple("value" if isinstance(argument, fx.Node) else argument for argument in node.args)
    options = dict(node.kwargs)
    overwrites = options.pop("inplace", False)
    match node.op, node.target, arguments:
        case "call_module", str(name), ("value",):
            module = network.get_submodule(name)
            layer, overwrites = layer_of(module, narrow), getattr(module, "inplace", False)
        case _, operator.add | operator.iadd | torch.add, ("value", "value"):
            layer, overwrites = Layer(), node.target is operator.iadd
        case _, F.relu | torch.relu, ("value",):
            layer = ReLU()
        case _, torch.flatten | "flatten", ("value", 1):
            layer = Flatten()
        case _:
            return None
    # Something else that reads the input would see it overwritten, now or later through the memory that Flatten shares.
    shared = len(node.all_input_nodes[0].users) > 1 and (overwrites or isinstance(layer, Flatten))
    return None if options or shared else layer


def layer_of(module: nn.Module, narrow: bool) -> Layer | None:
    """The formulas of a module, None if they are not known; `narrow`: as of the network that it belongs to."""
    if not type(module).__module__.startswith("torch.nn.modules."):  # a subclass may compute something else
        return None
    match module:
        case nn.Conv2d(groups=1, dilation=(1, 1), padding=(_, _), padding_mode="zeros" | "circular"):
            return LaneConvolution(module) if narrow and usable(module.weight) else Convolution(module)
        case nn.BatchNorm2d(affine=True, track_running_stats=True):
            return BatchNorm(module)
        case nn.Linear():
            return Linear(module)
        case nn.ReLU():
            return ReLU()
        case nn.Sigmoid():
            return Sigmoid()
        case nn.MaxPool2d(return_indices=False):
            window: Any = (module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
            return MaxPool(lambda inputs: F.max_pool2d_with_indices(inputs, *window))
        case nn.AdaptiveMaxPool2d(output_size=1 | (1, 1), return_indices=False):
            return MaxPool(lambda inputs: F.adaptive_max_pool2d_with_indices(inputs, 1))
        case nn.AvgPool2d():
            return AveragePool(module)
        case nn.AdaptiveAvgPool2d(output_size=1 | (1, 1)):
            return AveragePool()
        case nn.Flatten(start_dim=1, end_dim=-1):
            return Flatten()
    return None


def _total(values: list[Tensor | None], places: Sequence[int]) -> Tensor | None:
    """The sum of the values at these places; None stands for zero."""
    chosen = [value for place in places if (value := values[place]) is not None]
    return reduce(torch.add, chosen) if chosen else None


def _add(values: list[Tensor | None], places: Sequence[int], value: Tensor) -> None:
    """Add the value at these places, where None stands for zero."""
    for place in places:
        before = values[place]
        values[place] = value if before is None else before + value


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _circle(size: int, border: int, device: torch.device) -> Tensor:
    """The pixels seen along a side of `size` that continues by `border` with its opposite end."""
    return torch.arange(-border, size + border, device=device) % size


def _of_trials(each: Tensor, trials: int) -> Tensor:
    """[trials·n, …] as [trials, n, …]."""
    return each.view(trials, -1, *each.shape[1:])


def _columns(each: Tensor, trials: int) -> Tensor:
    """[trials·n, channels, height, width] as [trials, channels, n·pixels]."""
    return _of_trials(each.flatten(2), trials).transpose(1, 2).flatten(2)


def _of_images(each: Tensor, images: int) -> Tensor:
    """[trials, …] repeated for every image, [trials·n, …]."""
    return each[:, None].expand(-1, images // len(each), *each.shape[1:]).flatten(0, 1)


def _rows(each: Tensor, trials: int) -> Tensor:
    """[trials·n, …, features] as [trials, rows, features]."""
    return each.reshape(trials, -1, each.shape[-1])
