"""The analytic attack: closed-form recovery of a fully connected layer's input from its gradient (Prop. 3.1).

With z = W·a + b, the gradient of a row of W is ∂L/∂W_i = Σ_k δ_ik·a_k over the n inputs a_k of a batch, and that of its
bias is ∂L/∂b_i = Σ_k δ_ik. Their quotient is the input itself for n = 1, exactly, whatever the rest of the network
does. For a batch every row gives another mixture of the inputs, Σ_k δ_ik·a_k / Σ_k δ_ik, whose weights add up to 1 but
may be negative; a row shows one image alone only if no other image of the batch has a gradient there (as behind a ReLU
that only this image activates).
"""

import math
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from invgrad.attack.result import Reconstruction
from invgrad.attack.settings import Analytic
from invgrad.clients.settings import Client
from invgrad.clients.shared import Shared
from invgrad.networks.copying import copied, unwrapped
from invgrad.networks.logits import logits_of
from invgrad.runtime.devices import dtype_of
from invgrad.settings import SettingsError
from invgrad.tangent.scale import at_unit_scale

DISTINCT = 1e-3
"""Quotients that differ by less than this part of their largest entry count as the same mixture, rounded."""


def recover(network: nn.Module, client: Client, shared: Shared, attack: Analytic) -> Reconstruction:
    """Recover the images of every client in `shared`, in no order; labels are neither used nor found.

    Nothing is drawn, no memory is needed beyond that of the layer's gradient, and there are no iterations. Images that
    left no trace are not a number. Raises `SettingsError` for another first layer, or for clients that do not share a
    gradient.
    """
    if client.kind != "gradient":
        raise SettingsError(f"shares: an analytic attack needs a gradient, not {client.kind} (nearest: gradient)")
    network = copied(unwrapped(network))  # since a forward pass may change it
    layer = first_layer(network, shared.shape)
    gradients = at_unit_scale([_gradient(network, shared, each) for each in (layer.weight, layer.bias)])
    weight, bias = (each.to(dtype_of(attack.precision)) for each in gradients)
    found = [recover_inputs(*rows, shared.images) for rows in zip(weight, bias, strict=True)]
    images = torch.stack(found).unflatten(-1, shared.shape)
    some = images.isfinite().flatten(1).any(1)
    return Reconstruction(
        images=images,
        labels=torch.full(images.shape[:2], -1, device=images.device),
        matching_cost=images.new_full((len(shared), 1), torch.nan),
        iterations=torch.zeros(len(shared), 1, dtype=torch.long, device=images.device),
        selected=torch.where(some, 0, -1),
    )


def row_quotients(weight: Tensor, bias: Tensor) -> Tensor:
    """Divide each row of a fully connected layer's weight gradient [outputs, inputs] by its bias gradient [outputs].

    Returns [outputs, inputs]: each row is the layer's input, or a mixture of its inputs; not a number where the bias
    gradient is zero.
    """
    return torch.where(bias[:, None] != 0, weight / bias[:, None], torch.nan)


def recover_inputs(weight: Tensor, bias: Tensor, count: int) -> Tensor:
    """Select the `count` best conditioned of the distinct `row_quotients`, those with the largest bias gradients.

    Returns [count, inputs]: for one image its input, for a batch mixtures; not a number where there are no more.
    """
    found = weight.new_full((count, weight.shape[1]), torch.nan)
    number = 0
    for quotient in row_quotients(weight, bias)[bias.abs().argsort(descending=True, stable=True)]:
        apart = (found[:number] - quotient).abs().amax(1)
        if quotient.isfinite().all() and (apart > DISTINCT * quotient.abs().max()).all():
            found[number] = quotient
            number += 1
        if number == count:
            break
    return found


@torch.no_grad()
def first_layer(network: nn.Module, shape: tuple[int, ...]) -> nn.Linear:
    """Find the first layer of a network that takes images of this shape.

    Raises `SettingsError` if it is not a biased fully connected layer that gets the pixels as they are, in order.
    """
    parameter = next(network.parameters())
    probe = torch.linspace(-1, 1, math.prod(shape), device="cpu").to(parameter).reshape(1, *shape)
    called: list[tuple[nn.Module, Tensor]] = []
    with ExitStack() as hooks:
        for module in network.modules():
            if any(True for _ in module.parameters(recurse=False)):
                hook = module.register_forward_pre_hook(lambda layer, inputs: called.append((layer, inputs[0].clone())))
                hooks.enter_context(hook)
        logits_of(network, probe.clone())
    layer, given = next(iter(called), (network, probe))
    if not isinstance(layer, nn.Linear) or layer.bias is None or not torch.equal(given, probe.flatten(1)):
        raise SettingsError(
            "attack: an analytic one needs a network whose first layer is a biased Linear of the flattened image, not "
            f"a {type(layer).__name__} of {list(given.shape[1:])} (nearest: kind: optimisation)"
        )
    return layer


def _gradient(network: nn.Module, shared: Shared, parameter: Tensor) -> Tensor:
    """Select the clients' gradients of this parameter, on its device."""
    for each, tensor in zip((each for each in network.parameters() if each.requires_grad), shared.tensors, strict=True):
        if each is parameter:
            return tensor.to(parameter.device)
    raise SettingsError(
        "attack: an analytic one needs the first layer's gradient, but it is frozen (nearest: optimisation)"
    )
