"""Compiled and batched convolutions and matrix products under the tangent passes."""
