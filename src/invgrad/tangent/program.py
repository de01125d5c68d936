"""A small network's layers as one program, with which compiled code takes an attack step for blocks of trials.

The code, `kernels/_program.cpp`, computes what `invgrad.tangent.passes` does for the distances of `DISTANCES`. Here the
layers are listed, their kernels arranged, and the memory of a block laid out: every value has four buffers (itself, δ,
ȧ and δ̇), and layers that change numbers one by one share them between input and output wherever nothing else needs
the input.
"""

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate, product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from invgrad.tangent.convolutions import Convolution
from invgrad.tangent.kernels.library import SUFFIXES, library
from invgrad.tangent.layers import (
    AveragePool,
    BatchNorm,
    Flatten,
    Layer,
    Linear,
    MaxPool,
    PerTrial,
    ReLU,
    Sigmoid,
    pair,
)
from invgrad.tangent.passes import Passes, Step, one_hot

DISTANCES = ("cosine", "layerwise-cosine", "squared-euclidean")
"""Distances that the compiled code knows, in the order of its numbers for them."""

ALIGNMENT = 64
"""Bytes of the widest vectors, which the compiled code aligns its memory to."""

LARGEST_VALUE = 32 * 2**10
"""Numbers of an image's largest value, with its border, up to which a program pays for a wide network: for all lanes of
AVX-512 they are 2 MiB, as much as a core's own cache, more or less.
"""

FILLED = 0.75
"""Share of a block's lanes that trials have to fill. Measured on one core with AVX-512, where 16 trials fill it:
those of ResNets of width 16 and 24 are 2.3 to 3.0 times as fast as one by one, 12 are 1.6 to 2.2 times and 8 up to 1.4
times; 12 of a ResNet of width 48, beyond `LARGEST_VALUE`, are slower.
"""

WORKSPACE = 2**30
"""Bytes that the blocks at work may take together; a single one may take more."""

MOST_IDLE = 1.25
"""Largest ratio of places for images to images, where a trial's images are spread over several lanes."""


class Kind(IntEnum):
    """Kinds of layers, with the numbers that the compiled code knows them by."""

    CONVOLUTION, LINEAR, BATCH_NORM, SIGMOID, RELU, ADD, MAX_POOL, AVERAGE_POOL = range(8)


KINDS: dict[type[Layer], Kind] = {
    Convolution: Kind.CONVOLUTION,
    Linear: Kind.LINEAR,
    BatchNorm: Kind.BATCH_NORM,
    Sigmoid: Kind.SIGMOID,
    ReLU: Kind.RELU,
    Layer: Kind.ADD,
    MaxPool: Kind.MAX_POOL,
    AveragePool: Kind.AVERAGE_POOL,
}
"""The kinds of layers by class; a subclass may compute something else."""

BY_NUMBER = (Kind.BATCH_NORM, Kind.SIGMOID, Kind.RELU, Kind.ADD)
"""Kinds that change numbers one by one: input and output have the same shape and border."""

BUFFERS = ("value", "δ", "ȧ", "δ̇")
IN_PLACE = {
    "value": (Kind.SIGMOID, Kind.RELU, Kind.ADD),
    "δ": (Kind.RELU, Kind.ADD),
    "ȧ": BY_NUMBER,
    "δ̇": BY_NUMBER,
}
"""Kinds that may share a buffer between input and output: their formulas need no more than one of both."""
NEED_OUTPUT = {"value": (Kind.SIGMOID, Kind.RELU, Kind.MAX_POOL), "δ": (), "ȧ": (Kind.SIGMOID,), "δ̇": ()}
"""Kinds whose output may not be overwritten."""


Shape = tuple[int, int, int]
"""Channels, height and width, for one image."""


def _structure(name: str, fields: str) -> type[ctypes.Structure]:
    """Make a C structure of 64-bit integers; `*` before a name stands for a pointer, `~` for a real number, and `×4`
    after it for four integers.
    """

    def typed(each: str) -> tuple[str, type]:
        if each[0] in "*~":
            return each[1:], ctypes.c_void_p if each[0] == "*" else ctypes.c_double
        return (each[:-2], ctypes.c_int64 * 4) if each.endswith("×4") else (each, ctypes.c_int64)

    return type(name, (ctypes.Structure,), {"_fields_": [typed(each) for each in fields.split()]})


_CValue = _structure("Value", "channels height width top left high wide at×4 moves rests")
_CLayer = _structure(
    "Layer",
    "kind input other output adds adds_other rows columns down right above before with_padding divisor "
    "weight bias kernel transposed channel",
)
_CProgram = _structure(
    "Program",
    "*values *layers *parameters *constants value_count layer_count parameter_count activations transposed classes",
)
_CBatch = _structure(
    "Batch",
    "trials images spread distance threads ~total_variation *pixels *expected *target *target_squares *weights *chosen "
    "*grad_pixels *grad_expected *objective *matching *memory",
)


@dataclass
class _Value:
    """A value of the program: the images, or a layer's output."""

    shape: Shape
    moves: bool
    """True if it depends on the parameters."""
    readers: int = 0
    rests: bool = False
    """True if it does not depend on the parameters, but a layer may read its derivatives all the same."""
    border: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Rows and columns of zeros: above, to the left, below, to the right."""

    @property
    def bordered(self) -> tuple[int, int]:
        """Height and width with the border."""
        top, left, bottom, right = self.border
        return self.shape[1] + top + bottom, self.shape[2] + left + right

    @property
    def size(self) -> int:
        """Count the numbers with the border."""
        return self.shape[0] * self.bordered[0] * self.bordered[1]

    def widen(self, border: Sequence[int]) -> None:
        """Make the border at least this wide."""
        top, left, bottom, right = map(max, self.border, border)
        self.border = top, left, bottom, right


@dataclass(kw_only=True)
class _Layer:
    """A layer of the program."""

    kind: Kind
    shape: Shape
    """That of its output."""
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    with_padding: bool = False
    """True if an average counts the pixels of the padding."""
    divisor: int = 0
    """The divisor of an average, if it is not the number of pixels."""
    kernel: Tensor | None = None
    """[outputs, inputs, rows, columns]."""
    numbers: Tensor | None = None
    """Constants for each channel: the bias; or a batch norm's mean, rate, slope and offset."""
    inputs: tuple[int, ...] = ()
    output: int = 0
    positions: tuple[int, ...] = ()


class _UnknownError(Exception):
    """A layer that the compiled code does not know."""


def _described(step: Step, shape: Shape) -> _Layer:
    """Describe the layer of a step with inputs of `shape`. Raises `_UnknownError`."""
    layer = step.layer
    if type(layer) not in KINDS:
        raise _UnknownError
    found = _Layer(kind=KINDS[type(layer)], shape=shape)
    if found.kind not in BY_NUMBER:
        channels, height, width, *_ = *step.shape[1:], 1, 1
        found.shape = channels, height, width
    match layer:
        case Convolution(border=(0, 0)):
            found.window, found.stride, found.padding = layer.kernel, layer.stride, layer.padding
            found.kernel, found.numbers = layer.weight, layer.bias
        case Linear() if len(step.shape) == 2:
            found.window, found.kernel, found.numbers = shape[1:], layer.weight.unflatten(1, shape), layer.bias
        case Convolution() | Linear():
            raise _UnknownError
        case BatchNorm():
            slope = layer.scale * layer.rate
            found.numbers = torch.cat([layer.mean, layer.rate, slope, layer.shift - layer.mean * slope]).flatten()
        case MaxPool(module=None) | AveragePool(module=None):
            found.window = shape[1:]
        case MaxPool(module=nn.MaxPool2d() as pool) | AveragePool(module=nn.AvgPool2d() as pool):
            if getattr(pool, "dilation", 1) not in (1, (1, 1)):
                raise _UnknownError
            found.window, found.stride, found.padding = pair(pool.kernel_size), pair(pool.stride), pair(pool.padding)
            found.with_padding = getattr(pool, "count_include_pad", False)
            found.divisor = getattr(pool, "divisor_override", None) or 0
    return found


def _listed(steps: Sequence[Step], shape: Shape) -> tuple[list[_Value], list[_Layer]]:
    """List the values and layers of a program for images of `shape`. Raises `_UnknownError`."""
    values, layers, numbers = [_Value(shape, moves=False)], list[_Layer](), [0]
    for step in steps:
        inputs = [numbers[source] for source in step.sources]
        if type(step.layer) in (Layer, Flatten) and len(inputs) == 1:  # the same numbers, perhaps in another shape
            numbers.append(inputs[0])
            continue
        if len({values[each].shape for each in inputs}) > 1:
            raise _UnknownError
        layer = _described(step, values[inputs[0]].shape)
        layer.inputs, layer.output, layer.positions = tuple(inputs), len(values), step.positions
        moves = bool(step.positions) or any(values[each].moves for each in inputs)
        numbers.append(len(values))
        values.append(_Value(layer.shape, moves, rests=not moves))  # a sigmoid reads its output's derivatives
        layers.append(layer)
        for each in inputs:
            values[each].readers += 1
            values[each].rests |= not values[each].moves and layer.kernel is None
    if numbers[-1] != len(values) - 1 or values[-1].shape[1:] != (1, 1):
        raise _UnknownError
    for layer in layers:  # a shortcut is read by others too, while the other summand can be overwritten
        layer.inputs = tuple(sorted(layer.inputs, key=lambda number: values[number].readers))
    return values, layers


def _widen_borders(values: list[_Value], layers: list[_Layer]) -> None:
    """Give every value the border of zeros that the convolutions on either side of it need."""
    for layer in layers:
        if layer.kind is not Kind.CONVOLUTION:
            continue
        source, output = values[layer.inputs[0]], values[layer.output]
        geometry = list(zip(source.shape[1:], output.shape[1:], layer.window, layer.stride, layer.padding, strict=True))
        beyond = [(out - 1) * stride + window - padding - size for size, out, window, stride, padding in geometry]
        source.widen((*layer.padding, *beyond))
        # δ is read by Wᵀ∗δ as far as any tap of any input pixel reaches.
        before = [(window - 1 - padding) // stride for _, _, window, stride, padding in geometry]
        after = [(size - 1 + padding) // stride - (out - 1) for size, out, _, stride, padding in geometry]
        output.widen((*before, *after))
    alike = [(*layer.inputs, layer.output) for layer in layers if layer.kind in BY_NUMBER]
    for _ in alike:  # borders spread along chains of such layers, in both directions
        for group in alike:
            for one, other in product(group, group):
                values[one].widen(values[other].border)


def _buffers(values: list[_Value], layers: list[_Layer]) -> tuple[list[list[int]], int]:
    """Return where the buffers of every value begin, and the size of all of them, for one image."""
    made_by = {layer.output: layer for layer in layers}
    places: list[list[int]] = []
    end = 0
    for number, value in enumerate(values):
        places.append([])
        for which, buffer in enumerate(BUFFERS):
            if number and _overwrites(made_by[number], buffer, values, made_by):
                places[-1].append(places[made_by[number].inputs[0]][which])
            else:
                places[-1].append(end)
                end += value.size
    return places, end


def _overwrites(layer: _Layer, buffer: str, values: list[_Value], made_by: dict[int, _Layer]) -> bool:
    """Decide whether a layer's output may lie where its first input lies."""
    source = layer.inputs[0]
    if layer.kind not in IN_PLACE[buffer] or source not in made_by:
        return False
    alone = values[source].readers == 1 and values[source].moves == values[layer.output].moves
    return alone and made_by[source].kind not in NEED_OUTPUT[buffer]


def _arranged(kernel: Tensor) -> Tensor:
    """Arrange kernels [..., outputs, inputs, rows, columns] as [..., rows, columns, inputs, outputs]."""
    return kernel.movedim((-2, -1, -3, -4), (-4, -3, -2, -1))


def _turned(layer: _Layer) -> Tensor:
    """Arrange a layer's kernel for Wᵀ∗δ, flat: the taps that meet pixels of the same remainder, of the position divided
    by the stride, together, in the order in which δ is read; each [outputs, inputs].
    """
    assert layer.kernel is not None
    kernel = layer.kernel.permute(2, 3, 0, 1)
    (down, right), (above, before) = layer.stride, layer.padding
    parts = [
        kernel[(top + above) % down :: down, (left + before) % right :: right].flip(0, 1).flatten()
        for top, left in product(range(down), range(right))
    ]
    return torch.cat(parts)


class Matched(NamedTuple):
    """The gradients that trials are to reproduce; see `invgrad.objective.targets`."""

    packed: Tensor
    """T, as `Program.packed` arranges it."""
    squares: Tensor
    weights: Tensor
    chosen: Tensor


class Found(NamedTuple):
    """Result of a step."""

    images: Tensor
    """Gradient of the objective with respect to the images, [trials, n, 3, h, w]."""
    probabilities: Tensor
    """Gradient with respect to the probabilities of the classes that stand in the loss, [trials, n, classes]."""
    objective: Tensor
    """The distance plus the weighted total variation, [trials]."""
    matching: Tensor
    """The distance, [trials]."""


class Program:
    """A program for the trials of one network and number of images."""

    def __init__(self, steps: Sequence[Step], shape: tuple[int, ...]) -> None:
        """Take the steps of the passes, and the `shape` of a trial's images, [n, 3, h, w]. Raises `_UnknownError`."""
        values, layers = _listed(steps, (shape[1], shape[2], shape[3]))
        _widen_borders(values, layers)
        self._images, self._classes = shape[0], values[-1].shape[0]
        self._kernels = {each.positions[0]: each.kernel.shape for each in layers if each.kernel is not None}
        sizes = {position: size for each in layers for position, size in _parameter_sizes(each)}
        self._begins = (ctypes.c_int64 * (len(sizes) + 1))(0, *accumulate(sizes[each] for each in sorted(sizes)))
        places, activations = _buffers(values, layers)
        self._values = (_CValue * len(values))(*map(_compiled_value, values, places))
        constants = _Constants()
        seen: set[int] = set()
        reversed_layers = [_compiled_layer(each, constants, seen) for each in reversed(layers)]
        self._layers = (_CLayer * len(layers))(*reversed(reversed_layers))
        self._constants = torch.cat(constants.parts)
        self._suffix = SUFFIXES[self._constants.dtype]
        self._program = _CProgram(
            values=ctypes.addressof(self._values),
            layers=ctypes.addressof(self._layers),
            parameters=ctypes.addressof(self._begins),
            constants=self._constants.data_ptr(),
            value_count=len(values),
            layer_count=len(layers),
            parameter_count=len(sizes),
            activations=activations,
            transposed=max(0 if each.kernel is None else each.kernel.numel() for each in layers),
            classes=self._classes,
        )
        self._lanes = self._call("lanes")
        self._spread = _spread(self._images, self._lanes)

    def pays(self, trials: int, *, narrow: bool) -> bool:
        """Decide whether this program is faster for so many trials than tangent passes, which take those of a narrow
        network all at once and those of a wide one one by one, where several images are fast enough.
        """
        largest = max(value.channels * value.high * value.wide for value in self._values)
        fits = narrow or (self._images == 1 and largest <= LARGEST_VALUE)
        return fits and trials >= FILLED * self._lanes

    def packed(self, target: PerTrial) -> Tensor:
        """Arrange T as the compiled code reads it, flat: [elements][trials] for each block of trials."""
        arranged = [
            _arranged(each.view(len(each), *self._kernels[position])) if position in self._kernels else each
            for position, each in enumerate(target)
        ]
        rows = torch.cat([each.flatten(1) for each in arranged], 1)
        return torch.cat([block.T.flatten() for block in rows.split(self._lanes // self._spread)])

    def step(
        self, images: Tensor, labels: Tensor, matched: "Matched", distance: str, total_variation_weight: float
    ) -> "Found":
        """Evaluate images [trials, n, 3, h, w] with `labels`, probabilities of the classes [trials, n, classes] or
        class indices [trials, n].
        """
        expected = labels if labels.is_floating_point() else one_hot(labels, images, self._classes)
        inputs = [each.contiguous() for each in (images, expected, *matched)]
        costs = images.new_empty(2, len(images))
        found = Found(torch.empty_like(inputs[0]), torch.empty_like(inputs[1]), *costs)
        block, blocks = self._call("memory", self._images, self._spread), -(-len(images) * self._spread // self._lanes)
        workers = min(torch.get_num_threads(), blocks, max(1, WORKSPACE // block))
        memory = torch.empty(workers * block + ALIGNMENT, dtype=torch.uint8)
        batch = _CBatch(
            *(len(images), self._images, self._spread, DISTANCES.index(distance), workers, total_variation_weight),
            *(each.data_ptr() for each in (*inputs, *found, memory)),
        )
        self._call("run", ctypes.byref(batch))
        return found

    def _call(self, name: str, *arguments: object) -> int:
        functions = library("program")
        assert functions is not None
        function = getattr(functions, f"{name}_{self._suffix}")
        function.restype = ctypes.c_int64
        numbers = [ctypes.c_int64(each) if isinstance(each, int) else each for each in arguments]
        return int(function(*(() if name == "lanes" else (ctypes.byref(self._program),)), *numbers))


def program_of(passes: Passes, shape: tuple[int, ...]) -> Program | None:
    """Make the program of these passes, for a trial's images of `shape`; None if the compiled code does not know one of
    the layers.
    """
    try:
        return Program(passes.steps, shape)
    except _UnknownError:
        return None


class _Constants:
    """The constants of a program, one after the other."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self._end = 0

    def add(self, part: Tensor | None) -> int:
        """Add a part; returns where it begins, -1 if there is none."""
        if part is None:
            return -1
        self.parts.append(part.detach().flatten())
        self._end += part.numel()
        return self._end - part.numel()


def _parameter_sizes(layer: _Layer) -> Iterator[tuple[int, int]]:
    """Yield the positions of a layer's parameters and their numbers of elements."""
    sizes = [layer.shape[0]] * 2 if layer.kernel is None else [layer.kernel.numel(), layer.shape[0]]
    return zip(layer.positions, sizes, strict=False)


def _compiled_value(value: _Value, places: Sequence[int]) -> ctypes.Structure:
    top, left, _, _ = value.border
    at = (ctypes.c_int64 * len(BUFFERS))(*places)
    return _CValue(*value.shape, top, left, *value.bordered, at, value.moves, value.rests)


def _compiled_layer(layer: _Layer, constants: _Constants, seen: set[int]) -> ctypes.Structure:
    """Return the layer for the compiled code; `seen` are the inputs of the layers after it, which write δ earlier."""
    first, last = layer.inputs[0], layer.inputs[-1]
    adds, adds_other = first in seen, last in seen or first == last
    seen.update(layer.inputs)
    weight, bias = (*layer.positions, -1, -1)[:2]
    return _CLayer(
        layer.kind,
        first,
        last,
        layer.output,
        adds,
        adds_other,
        *layer.window,
        *layer.stride,
        *layer.padding,
        layer.with_padding,
        layer.divisor,
        weight,
        bias,
        constants.add(None if layer.kernel is None else _arranged(layer.kernel)),
        constants.add(_turned(layer) if layer.kind is Kind.CONVOLUTION else None),
        constants.add(layer.numbers),
    )


def _spread(images: int, lanes: int) -> int:
    """Return over how many neighbouring lanes a trial's images are spread: as many as leave few of them idle."""
    spread = 1
    while 2 * spread <= min(images, lanes) and -(-images // (2 * spread)) * 2 * spread <= MOST_IDLE * images:
        spread *= 2
    return spread
