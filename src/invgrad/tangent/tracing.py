"""Tracing of a network: its graph of operations, turned into passes."""

import operator

import torch
from torch import Tensor, fx, nn

from invgrad.tangent.convolutions import PassOptions
from invgrad.tangent.layers import Flatten, Layer
from invgrad.tangent.passes import Passes, Step
from invgrad.tangent.registry import VALUE, is_registered, layer_of, layer_of_call


class _Tracer(fx.Tracer):
    """A tracer that takes registered modules as one operation, as it does torch's own."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return is_registered(module) or super().is_leaf_module(module, name)


class _Shapes(fx.Interpreter):
    """An interpreter that notes the shape of every operation's result; torch's own prints what fails."""

    def run_node(self, node: fx.Node) -> object:
        result: object = super().run_node(node)
        if isinstance(result, Tensor):
            node.meta["shape"] = result.shape
        return result


def trace(network: nn.Module, shape: tuple[int, ...], options: PassOptions) -> Passes | None:
    """Return the passes through a network in evaluation mode for images of `shape`, [n, 3, h, w] for one trial, or None
    if it does anything that is not registered.
    """
    if any(module.training or _is_changed(module) for module in network.modules()):
        return None
    first = next(network.parameters())
    try:
        graph = fx.GraphModule(network, _Tracer().trace(network))
        with torch.no_grad():
            _Shapes(graph).run(first.new_zeros(shape))
        nodes = list(graph.graph.nodes)
    except Exception:  # both run the network's own code, which may fail in any way
        return None
    images, *inner, output = nodes
    numbers = {id(parameter): number for number, parameter in enumerate(network.parameters())}
    place, dependent, steps = {images: 0}, set[fx.Node](), list[Step]()
    for node in inner:
        layer = _layer(node, network, options)
        if layer is None or not node.users:
            return None
        sources = [argument for argument in node.args if isinstance(argument, fx.Node)]
        if len({_shape(source) for source in sources}) > 1:  # one is broadcast to the other
            return None
        step = Step(
            layer=layer,
            sources=tuple(place[source] for source in sources),
            dependent=tuple(place[source] for source in sources if source in dependent),
            positions=tuple(numbers[id(parameter)] for parameter in layer.parameters),
            shape=tuple(_shape(node)),
        )
        if step.dependent or step.positions:
            dependent.add(node)
        steps.append(step)
        place[node] = len(steps)
    used = sorted(position for step in steps for position in step.positions)
    each_parameter_once = used == list(range(len(numbers)))
    return Passes(steps) if each_parameter_once and output.args == (inner[-1],) else None


def _is_changed(module: nn.Module) -> bool:
    """Decide whether a module computes something else than its class, which tracing does not see."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _layer(node: fx.Node, network: nn.Module, options: PassOptions) -> Layer | None:
    """Return the layer of a traced operation, None if it is not known."""
    arguments = tuple(VALUE if isinstance(argument, fx.Node) else argument for argument in node.args)
    keywords = dict(node.kwargs)
    overwrites = keywords.pop("inplace", False) or node.target is operator.iadd
    layer: Layer | None
    if node.op == "call_module" and arguments == (VALUE,):
        module = network.get_submodule(str(node.target))
        layer = layer_of(module, _shape(node.all_input_nodes[0]), options)
        overwrites = getattr(module, "inplace", False)
    else:
        layer = layer_of_call(node.target, arguments)
    if layer is None or keywords:
        return None
    # Something else that reads the input would see it overwritten, now or later through the memory that is shared.
    shares_memory = isinstance(layer, Flatten) or (type(layer) is Layer and len(arguments) == 1)
    shared = len(node.all_input_nodes[0].users) > 1 and (overwrites or shares_memory)
    return None if shared else layer


def _shape(node: fx.Node) -> torch.Size:
    """Return the shape of an operation's result."""
    shape: torch.Size = node.meta["shape"]
    return shape
