"""Copies of a network, which an attack may change."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.utils._pytree import tree_leaves

from invgrad.settings import SettingsError, one_line


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network within DataParallel, DistributedDataParallel or what torch.compile made, if it is in one."""
    wrapped = isinstance(network, DataParallel | DistributedDataParallel)
    inner = network.module if wrapped else getattr(network, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else network


def copied(network: nn.Module) -> nn.Module:
    """Copy an unwrapped network, to be differentiated twice; raises `SettingsError` for one that cannot be copied."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise SettingsError("network: a ScriptModule takes no other parameters; give the nn.Module that it was made of")
    held = [each for module in network.modules() for each in tree_leaves(vars(module))]
    # What a forward pass computed and left in a module, as torch.nn.utils.weight_norm does, torch copies without its
    # graph only.
    computed = {id(each): each.detach().clone() for each in held if isinstance(each, Tensor) and not each.is_leaf}
    try:
        copy = deepcopy(network, computed)
    except (RuntimeError, TypeError) as error:
        raise SettingsError(f"network: cannot be copied: {one_line(error)}") from error
    for module in copy.modules():
        if isinstance(module, nn.Hardsigmoid):
            module.forward = _hard_sigmoid  # type: ignore[assignment, method-assign]
    return copy


def _hard_sigmoid(values: Tensor) -> Tensor:
    """Compute what torch's function of that name does, which has no second derivative."""
    return F.relu6(values + 3) / 6
