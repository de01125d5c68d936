"""Circumstances under which anyone's network can be differentiated twice."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.attention import SDPBackend, sdpa_kernel

from invgrad.clients.loss import called, trainable
from invgrad.settings import SettingsError, one_line


@contextmanager
def differentiable_twice(network: nn.Module) -> Iterator[None]:
    """Let the network compute by operations that have a second derivative, within the context.

    Fused attention has none, nor have cuDNN's recurrent layers. What is switched off is so for all of the process.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in network.modules()):
            stack.callback(setattr, torch.backends.cudnn, "enabled", torch.backends.cudnn.enabled)
            torch.backends.cudnn.enabled = False
        yield


@torch.enable_grad()
def refuse_foreign_parameters(network: nn.Module, images: Tensor) -> None:
    """Raise `SettingsError` for a network that computes with parameters which others in their place do not reach."""
    seen: set[Node] = set()
    waiting = [called(network, trainable(network), images.clone()).grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if isinstance(getattr(node, "variable", None), nn.Parameter):
            raise SettingsError(
                "network: computes with parameters that are not those of its modules, as where a list, a closure or a "
                "replaced forward() holds them; call the modules that have them"
            )
        seen.add(node)
        waiting += [each for each, _ in node.next_functions]


@contextmanager
def refusing_what_has_no_derivative() -> Iterator[None]:
    """Raise `SettingsError` in place of any error within the context."""
    try:
        yield
    except (SettingsError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the network's own code may fail in any way
        raise SettingsError(f"network: cannot be differentiated: {one_line(error)}") from error
