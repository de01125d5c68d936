"""Networks of every kind, each attacked for one step, against a slow double backward written here."""

import threading
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations, weight_norm
from torch.utils.checkpoint import checkpoint

from invgrad.attack.options import RunOptions
from invgrad.attack.run import reconstruct
from invgrad.attack.settings import SGD, Attack
from invgrad.clients.differentiation import differentiable_twice
from invgrad.clients.settings import Client, FederatedAveraging, GradientClient
from invgrad.clients.shared import Shared
from invgrad.objective.build import objective_for
from invgrad.objective.settings import Cosine
from invgrad.settings import Precision, SettingsError

STEP = Attack(
    iterations=1, optimiser=SGD(step_size=1), total_variation=0, box=False, step_decay=False, precision="float64"
)
NESTEROV = 1.9
"""Step size of the first step of this optimiser."""
SIDE, CLASSES, IMAGES, TRIALS = 8, 5, 2, 3


class Net(nn.Module):
    """A network from a function of itself and the images."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self, images)


class Square(torch.autograd.Function):
    """A function in the old style, which torch.func refuses."""

    @staticmethod
    def forward(ctx, values):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(values)
        return values**2

    @staticmethod
    def backward(ctx, slope):  # type: ignore[no-untyped-def]
        return 2 * ctx.saved_tensors[0] * slope


class Once(Square):
    """A function without second derivative."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):  # type: ignore[no-untyped-def]
        return 2 * ctx.saved_tensors[0] * slope


def flat(*layers: nn.Module, features: int, channels: int = 3) -> nn.Sequential:
    """A convolution to 8 channels of 4×4 pixels, the layers, and a linear layer of so many features."""
    first = nn.Conv2d(channels, 8, 3, 2, 1)
    return nn.Sequential(first, nn.Sigmoid(), *layers, nn.Flatten(), nn.Linear(features, CLASSES))


def tokens(function: Callable[[Any, Tensor], Tensor], **parts: Any) -> Net:
    """A network on 16 patches of 12 features."""

    def forward(net: Net, images: Tensor) -> Tensor:
        return net.head(function(net, net.patches(images).flatten(2).transpose(1, 2)).mean(1))

    return Net(forward, patches=nn.Conv2d(3, 12, 2, 2), head=nn.Linear(12, CLASSES), **parts)


def dense(function: Callable[[Any, Tensor], Tensor], **parts: Any) -> Net:
    """A network on 16 features of the whole image."""

    def forward(net: Net, images: Tensor) -> Tensor:
        return net.head(function(net, net.first(images.flatten(1)).tanh()))

    return Net(forward, first=nn.Linear(3 * SIDE**2, 16), head=nn.Linear(16, CLASSES), **parts)


def attention() -> nn.Module:
    return tokens(
        lambda net, x: x + net.part(x, x, x, need_weights=False)[0], part=nn.MultiheadAttention(12, 3, batch_first=True)
    )


def encoder_layer() -> nn.Module:
    return tokens(lambda net, x: net.part(x), part=nn.TransformerEncoderLayer(12, 3, 24, batch_first=True))


def fused_attention() -> nn.Module:
    return tokens(lambda net, x: F.scaled_dot_product_attention(x, x.tanh(), x, is_causal=True))


def position_embedding() -> nn.Module:
    return tokens(lambda net, x: (x + net.part(torch.arange(16, device=x.device))).sin(), part=nn.Embedding(16, 12))


def class_token() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = torch.cat([net.token.expand(len(x), 1, 12), x], 1)
        return net.part(x, x, x)[0][:, :1]

    return tokens(
        forward, token=nn.Parameter(torch.randn(1, 1, 12)), part=nn.MultiheadAttention(12, 2, batch_first=True)
    )


def mixer() -> nn.Module:
    return tokens(lambda net, x: x + net.part(x.transpose(1, 2)).transpose(1, 2).sin(), part=nn.Linear(16, 16))


def gated_einsum() -> nn.Module:
    part = nn.Parameter(torch.randn(12, 12, 4))
    return tokens(lambda net, x: torch.einsum("btc,cdk,bsd->btk", x, net.part, x).repeat(1, 1, 3), part=part)


def windows() -> nn.Module:
    return tokens(
        lambda net, x: net.part(x.roll(3, 1).unflatten(1, (4, 4)).flatten(2)).unflatten(2, (4, 12)).flatten(1, 2),
        part=nn.Linear(48, 48),
    )


def recurrent(kind: Callable[..., nn.Module]) -> Callable[[], nn.Module]:
    return lambda: tokens(lambda net, x: net.part(x)[0], part=kind(12, 12, batch_first=True))


def recurrent_cell() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        hidden, cell = x.new_zeros(len(x), 12), x.new_zeros(len(x), 12)
        for token in x.unbind(1):
            hidden, cell = net.part(token, (hidden, cell))
        return hidden[:, None]

    return tokens(forward, part=nn.LSTMCell(12, 12))


def value_of_the_features() -> nn.Module:
    return dense(lambda net, x: x.sin() if x.mean().item() < 9 else x)


def branch_on_a_tensor() -> nn.Module:
    return dense(lambda net, x: x * 2 if x.sum() > 0 else x * 3 + x**2)


def assigned_by_mask() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = x.clone()
        x[x < 0.1] = 0.0
        return x

    return dense(forward)


def selected_by_mask() -> nn.Module:
    return dense(lambda net, x: x * (x[x > 0] ** 2).sum())


def chosen_by_where() -> nn.Module:
    return dense(lambda net, x: torch.where(x > 0, x**2, x.sin()))


def fresh_buffer() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        scratch = torch.zeros(len(x), 16, dtype=x.dtype, device=x.device)
        scratch[:, :8] = x[:, :8] ** 2
        scratch[:, 8:] += x[:, 8:]
        return scratch

    return dense(forward)


def buffer_that_counts() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        net.part.running_mean += 1
        return x**2

    return dense(forward, part=nn.BatchNorm1d(16))


def registered_buffer() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        net.register_buffer("last", x.detach())
        return x * (1 + net.last.mean())

    return dense(forward)


def kept_features() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        net.kept = {"features": [x.sin()]}
        return net.kept["features"][0]

    return dense(forward)


def lazy_mask() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        if not hasattr(net, "mask"):
            net.mask = torch.linspace(0, 1, x.shape[1], dtype=x.dtype, device=x.device)
        return x**2 * net.mask

    return dense(forward)


def checkpointed() -> nn.Module:
    return tokens(
        lambda net, x: checkpoint(net.part, x, use_reentrant=False),
        part=nn.TransformerEncoderLayer(12, 3, 24, batch_first=True),
    )


def own_function() -> nn.Module:
    return dense(lambda net, x: Square.apply(x) + x)


def fourier() -> nn.Module:
    def forward(net: Net, images: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(images) * torch.view_as_complex(net.filter)
        return net.head(torch.fft.irfft2(spectrum).tanh().flatten(1))

    return Net(forward, filter=nn.Parameter(torch.randn(3, 8, 5, 2)), head=nn.Linear(192, CLASSES))


def tied() -> nn.Module:
    net = dense(lambda net, x: net.decode(net.code(x).sin()).sin(), code=nn.Linear(16, 16), decode=nn.Linear(16, 16))
    net.decode.weight = net.code.weight
    return net


def used_twice() -> nn.Module:
    twice = nn.Linear(16, 16)
    return dense(lambda net, x: net.again(net.once(x).sin()).sin(), once=twice, again=twice)


def called_twice() -> nn.Module:
    return dense(lambda net, x: net.part(net.part(x).sin()).sin(), part=nn.Linear(16, 16))


def squeeze_and_excitation() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        x = net.conv(x).tanh()
        return net.head((x * net.gate(x.mean((2, 3)))[:, :, None, None].sigmoid()).flatten(1))

    return Net(forward, conv=nn.Conv2d(3, 8, 3, 2, 1), gate=nn.Linear(8, 8), head=nn.Linear(128, CLASSES))


def branches() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        each = [net.small(x), net.large(x), F.avg_pool2d(x, 3, 1, 1), F.max_pool2d(x, 3, 1, 1)]
        return net.head(torch.cat(each, 1).sin().flatten(1))

    return Net(forward, small=nn.Conv2d(3, 4, 1), large=nn.Conv2d(3, 4, 5, padding=2), head=nn.Linear(896, CLASSES))


def residual() -> nn.Module:
    parts = {"one": nn.Conv2d(3, 8, 3, 2, 1), "two": nn.Conv2d(8, 8, 3, 1, 1), "norm": nn.BatchNorm2d(8)}

    def forward(net: Net, x: Tensor) -> Tensor:
        x = F.silu(net.one(x))
        return net.head((x + net.norm(net.two(x))).relu().flatten(1))

    return Net(forward, head=nn.Linear(128, CLASSES), **parts)


def dense_connections() -> nn.Module:
    def forward(net: Net, x: Tensor) -> Tensor:
        for layer in net.layers:
            x = torch.cat([x, layer(x).sigmoid()], 1)
        return net.head(x.mean((2, 3)))

    layers = nn.ModuleList(nn.Conv2d(channels, 4, 3, padding=1) for channels in (3, 7, 11))
    return Net(forward, layers=layers, head=nn.Linear(15, CLASSES))


def frozen_backbone() -> nn.Module:
    network = flat(nn.Conv2d(8, 8, 3, padding=1), nn.GELU(), features=128)
    network[0].requires_grad_(False)
    return network


def frozen_norm_weight() -> nn.Module:
    network = flat(nn.BatchNorm2d(8), features=128)
    network[2].weight.requires_grad_(False)
    return network


def unused_parameters() -> nn.Module:
    return dense(lambda net, x: x.sin(), part=nn.Linear(3, 3))


def scalar_parameter() -> nn.Module:
    return dense(
        lambda net, x: net.scale * x.sin() + net.shift,
        scale=nn.Parameter(torch.tensor(2.0)),
        shift=nn.Parameter(torch.ones(())),
    )


def cosine_classifier() -> nn.Module:
    return Net(
        lambda net, x: 9 * F.normalize(net.part(x.flatten(1)).tanh()) @ F.normalize(net.classes).T,
        part=nn.Linear(192, 16),
        classes=nn.Parameter(torch.randn(CLASSES, 16)),
    )


def over_time() -> nn.Module:
    return Net(
        lambda net, x: net.head(net.volume(net.line(x.flatten(2)).sin().view(-1, 1, 8, 8, 8)).sin().flatten(1)),
        line=nn.Conv1d(3, 8, 3, padding=1),
        volume=nn.Conv3d(1, 2, 3, 2, 1),
        head=nn.Linear(128, CLASSES),
    )


def sorted_features() -> nn.Module:
    return dense(lambda net, x: x.sort(1).values.cumsum(1).sin())


def inplace_layers() -> nn.Module:
    return nn.Sequential(
        nn.Hardtanh(0.2, 0.8, inplace=True), *flat(nn.BatchNorm2d(8), nn.SiLU(inplace=True), features=128)
    )


def unfolded() -> nn.Module:
    return Net(
        lambda net, x: net.head((net.part @ F.unfold(x, 2, stride=2)).sin().flatten(1)),
        part=nn.Parameter(torch.randn(8, 12)),
        head=nn.Linear(128, CLASSES),
    )


def replaced_forward() -> nn.Module:
    net = flat(features=128)
    net[-1].forward = MethodType(lambda layer, x: F.linear(x, layer.weight.sin(), layer.bias), net[-1])
    return net


def own_slope() -> nn.Module:
    """A network that differentiates within its forward pass."""

    def forward(net: Net, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(net.part(x).sin().sum(), x, create_graph=True)[0]

    return dense(forward, part=nn.Linear(16, 16))


BATCHED: dict[str, Callable[[], nn.Module]] = {
    "attention": attention,
    "transformer encoder layer": encoder_layer,
    "fused attention": fused_attention,
    "embedding of positions": position_embedding,
    "class token": class_token,
    "mixer": mixer,
    "einsum": gated_einsum,
    "windows": windows,
    "masks by where": chosen_by_where,
    "kept features": kept_features,
    "registered buffer": registered_buffer,
    "lazy mask": lazy_mask,
    "Fourier": fourier,
    "replaced forward": replaced_forward,
    "slope of its own": own_slope,
    "LSTM cell": recurrent_cell,
    "tied weights": tied,
    "module with two names": used_twice,
    "module called twice": called_twice,
    "squeeze and excitation": squeeze_and_excitation,
    "branches": branches,
    "residual": residual,
    "dense connections": dense_connections,
    "frozen backbone": frozen_backbone,
    "frozen parameter": frozen_norm_weight,
    "unused parameters": unused_parameters,
    "scalar parameters": scalar_parameter,
    "cosine classifier": cosine_classifier,
    "one and three dimensions": over_time,
    "sorted": sorted_features,
    "in place": inplace_layers,
    "unfolded": unfolded,
    "weight norm": lambda: flat(weight_norm(nn.Conv2d(8, 8, 3, padding=1)), nn.Tanh(), features=128),
    "parametrised weight norm": lambda: flat(
        parametrizations.weight_norm(nn.Conv2d(8, 8, 3, padding=1)), nn.Tanh(), features=128
    ),
    "spectral norm": lambda: flat(
        parametrizations.spectral_norm(nn.Conv2d(8, 8, 3, padding=1)), nn.Tanh(), features=128
    ),
    "group norm": lambda: flat(nn.GroupNorm(2, 8), nn.ELU(), features=128),
    "instance norm": lambda: flat(nn.InstanceNorm2d(8, affine=True), features=128),
    "layer norm": lambda: flat(nn.LayerNorm((8, 4, 4)), nn.Mish(), features=128),
    "batch norm by the batch": lambda: flat(nn.BatchNorm2d(8, track_running_stats=False), features=128),
    "GELU, Hardswish, SiLU": lambda: flat(nn.GELU(), nn.Hardswish(), nn.SiLU(), features=128),
    "PReLU, Softplus, dropout": lambda: flat(nn.PReLU(8), nn.Softplus(), nn.Dropout(), features=128),
    "depthwise": lambda: flat(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Tanh(), features=128),
    "dilated and grouped": lambda: flat(nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2), nn.Tanh(), features=128),
    "transposed": lambda: flat(nn.ConvTranspose2d(8, 4, 2, 2), nn.Tanh(), features=256),
    "pools": lambda: flat(nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(2, 1), nn.AdaptiveAvgPool2d(2), features=32),
    "adaptive pool": lambda: flat(nn.AdaptiveMaxPool2d((3, 2)), features=48),
    "resampled": lambda: flat(nn.Upsample(scale_factor=2, mode="bilinear"), nn.PixelUnshuffle(2), features=512),
    "reflected": lambda: flat(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), nn.Tanh(), features=128),
    "no bias": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(128, CLASSES, bias=False)
    ),
    "one channel": lambda: flat(features=128, channels=1),
    "four channels": lambda: flat(nn.GELU(), features=128, channels=4),
}
"""Networks that torch.func can batch."""

ONE_BY_ONE: dict[str, Callable[[], nn.Module]] = {
    "LSTM": recurrent(nn.LSTM),
    "GRU": recurrent(nn.GRU),
    "RNN": recurrent(nn.RNN),
    "item": value_of_the_features,
    "branch": branch_on_a_tensor,
    "assigned by mask": assigned_by_mask,
    "selected by mask": selected_by_mask,
    "fresh buffer": fresh_buffer,
    "buffer that counts": buffer_that_counts,
    "checkpoint": checkpointed,
    "function in the old style": own_function,
}
"""Networks that it cannot."""

ZOO = {**BATCHED, **ONE_BY_ONE}


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def built(name: str, device: str = "cpu") -> nn.Module:
    torch.manual_seed(len(name))
    return ZOO[name]().double().eval().to(device)


def trained(network: nn.Module) -> dict[str, Tensor]:
    return {name: each for name, each in network.named_parameters() if each.requires_grad}


def slopes(logits: Tensor, labels: Tensor, values: Sequence[Tensor]) -> Sequence[Tensor]:
    loss = F.cross_entropy(logits, labels)
    return torch.autograd.grad(loss, values, create_graph=True, materialize_grads=True)


def slow_gradient(network: nn.Module, images: Tensor, labels: Tensor) -> Sequence[Tensor]:
    return slopes(network(images.clone()), labels, list(trained(network).values()))


def slow_update(network: nn.Module, images: Tensor, labels: Tensor) -> Sequence[Tensor]:
    """What a client shares after two local steps of size 0.1."""
    before = trained(network)
    local = before
    for _ in range(2):
        found = slopes(functional_call(network, local, (images.clone(),)), labels, list(local.values()))
        local = {name: value - 0.1 * slope for (name, value), slope in zip(local.items(), found, strict=True)}
    return [local[name] - value for name, value in before.items()]


SLOW: dict[Client, Callable[[nn.Module, Tensor, Tensor], Sequence[Tensor]]] = {
    GradientClient(): slow_gradient,
    FederatedAveraging(steps=2, learning_rate=0.1): slow_update,
}


def slow_step(share: Callable[[Tensor], Sequence[Tensor]], target: Sequence[Tensor], start: Tensor) -> Tensor:
    """Images after one step down the cosine distance."""
    images = start.clone().requires_grad_()
    found = torch.cat([each.flatten() for each in share(images)])
    cosine = F.cosine_similarity(found, torch.cat([each.flatten() for each in target]), 0)
    (slope,) = torch.autograd.grad(1 - cosine, images)
    return start - NESTEROV * slope


def expect_a_step(network: nn.Module, client: Client, shape: tuple[int, int, int]) -> None:
    """The attack's first step is that of the slow double backward, for one trial and for several at once."""
    device = next(network.parameters()).device
    images, starts = torch.rand(2, TRIALS, IMAGES, *shape, dtype=torch.float64).to(device)
    labels = torch.randint(CLASSES, (TRIALS, IMAGES)).to(device)
    targets, expected = [], []
    with sdpa_kernel(SDPBackend.MATH), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cudnn, "enabled", not any(isinstance(m, nn.RNNBase) for m in network.modules()))
        for image, start, label in zip(images, starts, labels, strict=True):
            targets.append([each.detach() for each in SLOW[client](network, image, label)])
            share = lambda moved, label=label: SLOW[client](network, moved, label)  # noqa: E731
            expected.append(slow_step(share, targets[-1], start))
    stacked = tuple(torch.stack(each) for each in zip(*targets, strict=True))
    for count in {1, TRIALS}:
        shared = Shared(
            tensors=tuple(each[:count] for each in stacked),
            images=IMAGES,
            shape=shape,
            mean=(0,) * shape[0],
            std=(1,) * shape[0],
            labels=labels[:count],
        )
        before = state(network)
        found = reconstruct(network, client, shared, STEP, seed_key="zoo", start=starts[:count, None]).images
        assert state(network) == before
        for one, other, start in zip(found, expected, starts, strict=False):
            torch.testing.assert_close(one - start, other - start, rtol=1e-8, atol=1e-8 * (other - start).abs().max())


def state(network: nn.Module) -> list[object]:
    """All that a caller may look at."""
    hooks = [[len(each) for name, each in vars(module).items() if "_hooks" in name] for module in network.modules()]
    return [
        [(name, id(each), each.tolist(), each.requires_grad, each.grad) for name, each in network.named_parameters()],
        [(name, id(each), each.tolist()) for name, each in network.named_buffers()],
        [(id(module), module.training, sorted(vars(module))) for module in network.modules()],
        hooks,
    ]


SHAPES = {"one channel": (1, SIDE, SIDE), "four channels": (4, SIDE, SIDE)}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ZOO)
def test_a_step_is_that_of_the_slow_double_backward(name: str, device: str) -> None:
    expect_a_step(built(name, device), GradientClient(), SHAPES.get(name, (3, SIDE, SIDE)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["attention", "tied weights", "frozen backbone", "weight norm", "GRU", "checkpoint"])
def test_a_step_against_local_steps(name: str, device: str) -> None:
    expect_a_step(built(name, device), FederatedAveraging(steps=2, learning_rate=0.1), (3, SIDE, SIDE))


@pytest.mark.parametrize("name", ZOO)
def test_trials_run_together_where_they_can(name: str) -> None:
    network, shape = built(name), (IMAGES, *SHAPES.get(name, (3, SIDE, SIDE)))
    network(torch.rand(shape, dtype=torch.float64))  # makes what is made lazily
    assert objective_for(network, GradientClient(), Cosine(), 0, shape).at_once == (None if name in BATCHED else 1)


def attack(network: nn.Module, precision: Precision = "float32", **options: Any) -> Tensor:
    """Attack a client whose gradient is that of the network within, if it is in a wrapper."""
    torch.manual_seed(0)
    gradient = [torch.randn_like(each) for each in network.parameters()]
    shared = Shared.by_one_client(gradient, shape=(3, SIDE, SIDE), labels=[3])
    run = RunOptions(**options)
    return reconstruct(
        network, GradientClient(), shared, Attack(iterations=2, precision=precision), seed_key="zoo", options=run
    ).images


def test_a_network_is_as_it_was_after_an_interruption() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("module with two names", "weight norm", "fresh buffer", "buffer that counts", "LSTM"):
        network = built(name).float()
        before = state(network)
        with pytest.raises(KeyboardInterrupt):
            attack(network, progress=interrupt)
        assert state(network) == before


@pytest.mark.parametrize("wrapped", [nn.DataParallel, torch.compile], ids=["DataParallel", "compiled"])
def test_a_wrapped_network_is_attacked_as_the_one_within(wrapped: Callable[[nn.Module], nn.Module]) -> None:
    network = built("GELU, Hardswish, SiLU").float()
    assert torch.equal(attack(wrapped(network).eval()), attack(network))


CIRCUMSTANCES = {
    "without gradients": torch.no_grad(),
    "inference": torch.inference_mode(),
    "lower precision": torch.autocast("cpu", torch.bfloat16),
    "another default device": torch.device("meta"),  # on which tensors hold no values
}


@pytest.mark.parametrize("name", ["GELU, Hardswish, SiLU", "GRU"])
@pytest.mark.parametrize("circumstance", CIRCUMSTANCES.values(), ids=CIRCUMSTANCES)
def test_what_the_caller_has_switched_changes_nothing(name: str, circumstance: Any) -> None:
    network = built(name).float()
    expected = attack(network)
    with circumstance:
        found = attack(network)
    assert torch.equal(found, expected)


def test_a_network_of_several_precisions_is_attacked_in_that_of_the_settings() -> None:
    """But for what torch has no precision for: imaginary parts stay."""

    def forward(net: Net, x: Tensor) -> Tensor:
        turned = torch.view_as_complex(x.unflatten(1, (8, 2))) * net.turn
        return torch.view_as_real(turned).flatten(1).sin().to(net.head.weight.dtype)

    network = dense(forward).eval()
    network.register_buffer("turn", torch.polar(torch.ones(8), torch.arange(8.0)))
    single = attack(network)
    network.head.half()
    found = attack(network)
    network.head.float()
    double = attack(network, precision="float64")
    torch.testing.assert_close(found, single, atol=0.01, rtol=0)
    torch.testing.assert_close(double.float(), single, atol=0.01, rtol=0)


@pytest.mark.parametrize("sure_of", [0, 1])
def test_a_network_that_is_sure_of_another_class_is_attacked(sure_of: int) -> None:
    """Its gradient at that class is exactly 0 in single precision."""
    network = built("GELU, Hardswish, SiLU").float()
    with torch.no_grad():
        network[-1].bias[sure_of] += 200
    assert attack(network).isfinite().all()


def test_nothing_is_switched_off_for_good() -> None:
    for attempt in (lambda: attack(built("LSTM").float()), lambda: attack(built("attention").float())):
        attempt()
        assert all(switched_on())


def switched_on() -> list[bool]:
    return [
        torch.backends.cudnn.enabled,
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
    ]


def test_what_several_threads_switch_off_is_on_again_after_the_last() -> None:
    one, other = (differentiable_twice(built(name)) for name in ("LSTM", "GRU"))
    with one:
        other.__enter__()
        assert not any(switched_on())
    assert not any(switched_on())
    other.__exit__(None, None, None)
    assert all(switched_on())


def locked() -> nn.Module:
    return dense(lambda net, x: x.sin(), lock=threading.Lock())


def in_a_list() -> nn.Module:
    net = dense(lambda net, x: F.linear(x.sin(), net.held[0]), part=nn.Linear(16, 16))
    net.held = [net.part.weight]
    return net


def in_a_closure() -> nn.Module:
    part = nn.Linear(16, 16)
    return dense(lambda net, x: part(x.sin()), part=part)


def in_a_replaced_forward() -> nn.Module:
    net = flat(features=128)
    former = net[-1].forward
    net[-1].forward = lambda x: 2 * former(x)  # type: ignore[method-assign]
    return net


def frozen() -> nn.Module:
    return dense(lambda net, x: x.sin()).requires_grad_(False)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "argmax": (
        lambda: Net(lambda net, x: net.part(x.flatten(1).argmax(1)), part=nn.Embedding(192, CLASSES)),
        "its gradient does not change with the images",
    ),
    "rounding": (
        lambda: Net(lambda net, x: net.part(x.round().flatten(1)), part=nn.Linear(192, CLASSES)),
        "its gradient does not change with the images",
    ),
    "no grad": (
        lambda: dense(lambda net, x: net.head.weight.detach().sum() + x.detach()),
        "its gradient does not change with the images",
    ),
    "once only": (lambda: dense(lambda net, x: Once.apply(x)), "marked with @once_differentiable"),
    "checkpoint of another kind": (
        lambda: dense(lambda net, x: checkpoint(net.part, x, use_reentrant=True), part=nn.Linear(16, 16)),
        "use_reentrant=False",
    ),
    "script": (lambda: torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))), "ScriptModule"),
    "lock": (locked, "cannot be copied: cannot pickle '_thread.lock' object"),
    "parameter in a list": (in_a_list, "not those of its modules"),
    "parameter in a closure": (in_a_closure, "not those of its modules"),
    "parameter in a replaced forward": (in_a_replaced_forward, "not those of its modules"),
    "frozen": (frozen, "no parameter requires a gradient"),
    "tuple": (
        lambda: Net(lambda net, x: net.part(x.flatten(1)), part=nn.LSTM(192, CLASSES)),
        "is tuple instead of logits [1, classes]",
    ),
    "dictionary": (lambda: Net(lambda net, x: {"out": net.part(x)}, part=nn.Conv2d(3, 5, 1)), "is dict instead of"),
    "no logits": (lambda: nn.Sequential(nn.Conv2d(3, 5, 1)), "is [1, 5, 8, 8] instead of logits [1, classes]"),
    "other images": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(7, CLASSES)), "takes no 8×8 images"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_cannot_be_attacked_is_one_line(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(SettingsError) as caught:
        attack(make().eval())
    assert str(caught.value).startswith("network: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
