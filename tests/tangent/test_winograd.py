"""The compiled convolutions by Winograd agree with torch's direct ones, and are each other's adjoints."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_input, conv2d_weight

from invgrad.tangent.kernels.library import library
from invgrad.tangent.kernels.winograd import Winograd, pays

pytestmark = [
    pytest.mark.skipif(library("winograd") is None, reason="installed without a C++ compiler"),
    pytest.mark.usefixtures("generation"),
]


@given(
    images=st.integers(1, 5),
    channels=st.integers(1, 40),
    outputs=st.integers(1, 90),
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_agrees_with_torch(images: int, channels: int, outputs: int, height: int, width: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64)

    a, b = draw(2, images, channels, height, width)
    d, e = draw(2, images, outputs, height, width)
    w, v = draw(2, outputs, channels, 3, 3)
    layer = Winograd(outputs, channels)
    a_data, b_data, d_data, e_data = (layer.data(each) for each in (a, b, d, e))

    _same(layer.output(a.shape, (layer.kernel(w), a_data)), conv2d(a, w, padding=1))
    _same(
        layer.output(a.shape, (layer.kernel(w), b_data), (layer.kernel(v), a_data)),
        conv2d(b, w, padding=1) + conv2d(a, v, padding=1),
    )
    w_back, v_back = layer.kernel(w, transposed=True), layer.kernel(v, transposed=True)
    _same(layer.input(a.shape, (w_back, d_data)), conv2d_input(a.shape, w, d, padding=1))
    _same(
        layer.input(d.shape, (w_back, e_data), (v_back, d_data)),
        conv2d_input(a.shape, w, e, padding=1) + conv2d_input(a.shape, v, d, padding=1),
    )
    _same(layer.gradient(a.shape, a_data, layer.grad_output(d)), conv2d_weight(a, w.shape, d, padding=1))


def _same(mine: Tensor, expected: Tensor, error: float = 1e-10) -> None:
    """Equal up to this error relative to the largest value."""
    torch.testing.assert_close(mine, expected, rtol=0, atol=error * expected.abs().max().item())


@pytest.mark.parametrize("channels", [3, 64, 256])
def test_float32_is_exact_up_to_rounding(channels: int) -> None:
    random = torch.Generator().manual_seed(channels)
    a = torch.randn(2, channels, 14, 14, generator=random).relu()
    d, w = torch.randn(2, 64, 14, 14, generator=random), torch.randn(64, channels, 3, 3, generator=random)
    layer = Winograd(64, channels)
    results = {
        "output": (layer.output(a.shape, (layer.kernel(w), layer.data(a))), conv2d(a.double(), w.double(), padding=1)),
        "input": (
            layer.input(a.shape, (layer.kernel(w, transposed=True), layer.data(d))),
            conv2d_input(a.shape, w.double(), d.double(), padding=1),
        ),
        "gradient": (
            layer.gradient(a.shape, layer.data(a), layer.grad_output(d)),
            conv2d_weight(a.double(), w.shape, d.double(), padding=1),
        ),
    }
    errors = {name: ((mine - exact).abs().max() / exact.abs().max()).item() for name, (mine, exact) in results.items()}
    assert max(errors.values()) < 1e-5, errors


def test_takes_any_memory_order_and_overwrites_out() -> None:
    a, w = torch.randn(2, 5, 6, 7).to(memory_format=torch.channels_last), torch.randn(3, 3, 5, 4).permute(3, 2, 0, 1)
    layer = Winograd(4, 5)
    memory = layer.kernel(torch.zeros_like(w))
    kernel = layer.kernel(w, out=memory)
    assert kernel is memory
    _same(layer.output(a.shape, (kernel, layer.data(a))), conv2d(a, w, padding=1), 1e-5)


def test_does_not_depend_on_the_number_of_threads() -> None:
    a, w, threads = torch.randn(3, 20, 9, 9), torch.randn(40, 20, 3, 3), torch.get_num_threads()
    layer, results = Winograd(40, 20), list[Tensor]()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(layer.output(a.shape, (layer.kernel(w), layer.data(a))))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_pays_unless_there_are_few_pixels_for_many_channels() -> None:
    assert pays(64, 64, 32, 32, 1)
    assert pays(512, 512, 4, 4, 8)
    assert not pays(512, 512, 4, 4, 1)
