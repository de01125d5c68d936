"""Exact gradients of a function of the parameter gradient with respect to the images, by hand-written passes."""

from invgrad.tangent.convolutions import Use
from invgrad.tangent.passes import Passes, Tape
from invgrad.tangent.tracing import trace

__all__ = ["Passes", "Tape", "Use", "trace"]
