"""The compiled convolutions agree with torch's, and an image's result does not depend on the others."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_input, conv2d_weight

from invgrad.tangent.kernels.batched import BatchedConvolution, first_fastest
from invgrad.tangent.kernels.library import library

pytestmark = [
    pytest.mark.skipif(library("convolution") is None, reason="installed without a C++ compiler"),
    pytest.mark.usefixtures("generation"),
]


@given(
    images=st.integers(1, 35),
    channels=st.integers(1, 9),
    outputs=st.integers(1, 9),
    size=st.integers(5, 9),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    double=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_agrees_with_torch(
    images: int, channels: int, outputs: int, size: int, kernel: int, stride: int, padding: int, double: bool, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    dtype = torch.float64 if double else torch.float32
    close = {"rtol": 1e-10, "atol": 1e-11} if double else {"rtol": 1e-4, "atol": 1e-4}

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=dtype)

    inputs, shared = draw(images, channels, size, size + 1), draw(outputs, channels, kernel, kernel)
    own = draw(images, outputs, channels, kernel, kernel)
    batched = BatchedConvolution(shared.shape, (stride, stride), (padding, padding))
    expected = conv2d(inputs, shared, stride=stride, padding=padding)
    grad_outputs = draw(*expected.shape)
    place = {"stride": stride, "padding": padding}

    def each(function: object) -> Tensor:
        return torch.cat([function(image) for image in range(images)])  # type: ignore[operator]

    torch.testing.assert_close(batched.convolve(inputs, shared), expected, **close)
    torch.testing.assert_close(
        batched.convolve(first_fastest(inputs), own),
        each(lambda i: conv2d(inputs[i : i + 1], own[i], **place)),
        **close,
    )
    torch.testing.assert_close(
        batched.transpose(grad_outputs, shared, inputs.shape),
        conv2d_input(inputs.shape, shared, grad_outputs, **place),
        **close,
    )
    one = torch.Size((1, *inputs.shape[1:]))
    torch.testing.assert_close(
        batched.transpose(grad_outputs, own, inputs.shape),
        each(lambda i: conv2d_input(one, own[i], grad_outputs[i : i + 1], **place)),
        **close,
    )
    torch.testing.assert_close(
        batched.gradient(inputs, grad_outputs),
        each(lambda i: conv2d_weight(inputs[i : i + 1], shared.shape, grad_outputs[i : i + 1], **place)[None]),
        **close,
    )


def test_an_image_does_not_depend_on_the_others() -> None:
    inputs, kernels = torch.randn(37, 3, 8, 8), torch.randn(37, 4, 3, 5, 5)
    batched = BatchedConvolution(torch.Size((4, 3, 5, 5)), (2, 2), (2, 2))
    together = batched.convolve(inputs, kernels)
    inputs[:, :] = torch.where(torch.arange(37)[:, None, None, None] == 20, inputs, torch.nan)
    assert torch.equal(batched.convolve(inputs, kernels)[20], together[20])
    assert torch.equal(batched.convolve(inputs[20:21], kernels[20:21])[0], together[20])
