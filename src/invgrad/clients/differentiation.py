"""Circumstances under which anyone's network can be differentiated twice."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from threading import Lock

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.attention import SDPBackend, sdpa_kernel

from invgrad.clients.loss import called, trainable
from invgrad.settings import SettingsError, one_line


class _Without:
    """A context without something that torch can switch off for all of the process only.

    Several threads may be in it; it is switched on again when the last one leaves.
    """

    def __init__(self, without: Callable[[], AbstractContextManager[None]]) -> None:
        self._without, self._switched = without, ExitStack()
        self._lock, self._inside = Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._switched.enter_context(self._without())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._switched.close()


@_Without
@contextmanager
def _without_fused_attention() -> Iterator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@_Without
@contextmanager
def _without_cudnn() -> Iterator[None]:
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled


@contextmanager
def differentiable_twice(network: nn.Module) -> Iterator[None]:
    """Let the network compute by operations that have a second derivative, within the context.

    Fused attention has none, nor have cuDNN's recurrent layers. What is switched off is so for all of the process.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in network.modules())
    with _without_fused_attention, _without_cudnn if recurrent else nullcontext():
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
