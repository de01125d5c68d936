"""Every kind of network: its size, its seed, its checkpoint, and one clear line where it cannot be built."""

import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.error import URLError

import memory
import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models._api import WeightsEnum

from invgrad.clients.loss import cross_entropy
from invgrad.clients.protocols import share
from invgrad.clients.settings import GradientClient
from invgrad.networks import resnet
from invgrad.networks.build import build, outline
from invgrad.networks.checkpoint import VictimFile, copied_state, load_state, load_victim, save_victim
from invgrad.networks.settings import (
    MLP,
    ConvNet,
    Custom,
    DenseNet,
    EfficientNetLite,
    IRevNet,
    LeNetZhu,
    MobileNet,
    Network,
    ResNet,
    Torchvision,
    source_files,
)
from invgrad.results.files import write_tensors
from invgrad.settings import Settings, SettingsError, parse

FACTORY = '''
from torch import nn


class Tied(nn.Module):
    """Two layers with the same weight."""

    def __init__(self, inputs, width, classes):
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.once, self.again = nn.Linear(width, width), nn.Linear(width, width)
        self.again.weight = self.once.weight
        self.leave = nn.Linear(width, classes)

    def forward(self, images):
        return self.leave(self.again(self.once(self.enter(images.flatten(1)).tanh()).tanh()))


def tied(*, classes, size, width=8):
    return Tied(3 * size * size, width, classes)


def without_classes(*, classes, size):
    return Tied(3 * size * size, 8, classes + 1)


def for_one_size(*, classes, size):
    return Tied(3 * 5 * 5, 8, classes)


def reads_values(*, classes, size):
    width = next(nn.Linear(1, 1).parameters()).isfinite().sum().item()
    return Tied(3 * size * size, width, classes)


def twins(*, classes, size):
    network = tied(classes=classes, size=size)
    network.again = network.once
    return network


def wrapped(*, classes, size):
    return nn.DataParallel(tied(classes=classes, size=size))


def nothing(*, classes, size):
    return None


def all_by_place(size, classes, channels=3, /, width=8):
    return Tied(channels * size * size, width, classes)


def only_one(classes):
    return Tied(3 * 32 * 32, 8, classes)


def none_at_all():
    return Tied(3 * 32 * 32, 8, 10)


def any_keyword(**settings):
    return tied(**settings)


def grey(classes, size, *, channels):
    return Tied(channels * size * size, 8, classes)


class Own(Tied):
    def __init__(self, width, classes=10):
        super().__init__(3 * 32 * 32, width, classes)


def needs_more(classes, depth):
    raise NotImplementedError


number = 3
network = none_at_all()
'''

STEPS = ("train", "share", "attack", "measure")
TIED = Custom(factory="nets.mine:tied", arguments={"width": 4})
TWINS, WRAPPED = Custom(factory="nets.mine:twins"), Custom(factory="nets.mine:wrapped")
KINDS: dict[str, Network] = {
    "lenet-zhu": LeNetZhu(),
    "convnet": ConvNet(width=4),
    "resnet": ResNet(depth=20, width=4),
    "mlp": MLP(widths=(16,)),
    "densenet": DenseNet(growth=4, blocks=(2, 1)),
    "mobilenet": MobileNet(),
    "irevnet": IRevNet(blocks=(2, 1), width=4),
    "efficientnet-lite0": EfficientNetLite(),
    "torchvision": Torchvision(model="squeezenet1_1"),
    "torchvision with auxiliary heads": Torchvision(model="googlenet"),
    "torchvision with versions in its checkpoints": Torchvision(model="mnasnet0_5"),
    "custom": TIED,
    "custom with a module of two names": TWINS,
    "custom in a wrapper": WRAPPED,
}


class Holder(Settings):
    network: Network


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of the user's own, on the path; its modules are imported anew by every test."""
    folder = tmp_path / "code" / "nets"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "mine.py").write_text(FACTORY)
    (folder / "broken.py").write_text("import there_is_no_such_module\n")
    (folder / "misspelt.py").write_text("def (:\n")
    monkeypatch.syspath_prepend(folder.parent)
    for name in [name for name in sys.modules if name.split(".")[0] == "nets"]:
        monkeypatch.delitem(sys.modules, name)


def parameters(network: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in network.parameters()]


def victim(network: Network, **changes: Any) -> VictimFile:
    facts = {"dataset": "cifar10", "classes": 10, "size": 32, "mean": (0.5,) * 3, "std": (0.2,) * 3, "seed": 1}
    return VictimFile(network=network, **facts | changes)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_mode_and_precision(kind: str) -> None:
    network = build(KINDS[kind], classes=7, size=40, seed=0)
    assert network(torch.rand(2, 3, 40, 40)).shape == (2, 7)
    assert not any(module.training for module in network.modules())
    assert {tensor.dtype for tensor in parameters(network)} == {torch.float32}


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_alone_decides_the_parameters(kind: str) -> None:
    state = torch.get_rng_state()
    first = build(KINDS[kind], classes=10, size=32, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    again, other = (parameters(build(KINDS[kind], classes=10, size=32, seed=seed)) for seed in (3, 4))
    assert all(map(torch.equal, parameters(first), again))
    assert not all(map(torch.equal, again, other))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_differentiable_with_respect_to_the_images(kind: str) -> None:
    network = build(KINDS[kind], classes=10, size=32, seed=0)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss, labels = cross_entropy(network), torch.tensor([2])
    shared = share(GradientClient(), loss, {k: v.detach() for k, v in network.named_parameters()}, images, labels)
    (slope,) = torch.autograd.grad(sum((tensor**2).sum() for tensor in shared), images)
    assert slope.isfinite().all()
    assert slope.abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_holds_the_whole_network(kind: str, tmp_path: Path) -> None:
    about = victim(KINDS[kind])
    network = about.build()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1)
    save_victim(tmp_path / "victim.safetensors", about, network)
    own = about.network if isinstance(about.network, Custom) else None
    loaded, described = load_victim(tmp_path / "victim.safetensors", torch.device("cpu"), custom=own)
    assert described == about
    saved, read = network.state_dict(), loaded.state_dict()
    assert saved.keys() == read.keys()
    assert all(torch.equal(saved[name], read[name]) for name in saved)


@pytest.mark.parametrize("kind", KINDS)
def test_the_settings_survive_json(kind: str) -> None:
    text = Holder(network=KINDS[kind]).model_dump_json()
    assert Holder.model_validate_json(text).network == KINDS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_an_outline_has_the_shapes_but_no_values(kind: str) -> None:
    shapes = [tensor.shape for tensor in parameters(build(KINDS[kind], classes=10, size=32, seed=0))]
    counted = parameters(outline(KINDS[kind], classes=10, size=32))
    assert [tensor.shape for tensor in counted] == shapes
    assert {tensor.device.type for tensor in counted} == {"meta"}


@pytest.mark.parametrize("network", [Torchvision(model="regnet_x_400mf"), Custom(factory="nets.mine:reads_values")])
def test_an_outline_of_a_network_that_computes_while_it_is_built(network: Network) -> None:
    state = torch.get_rng_state()
    shapes = [tensor.shape for tensor in parameters(build(network, classes=10, size=32, seed=0))]
    assert [tensor.shape for tensor in parameters(outline(network, classes=10, size=32))] == shapes
    assert torch.equal(torch.get_rng_state(), state)


def test_mobilenet_differs_from_torchvisions_in_its_strides_only() -> None:
    mine, theirs = build(MobileNet(), classes=10, size=32, seed=0), models.mobilenet_v2(num_classes=10).eval()
    assert [tensor.shape for tensor in parameters(mine)] == [tensor.shape for tensor in parameters(theirs)]
    images = torch.zeros(1, 3, 32, 32)
    assert mine.features(images).shape[-1] == 4 * theirs.features(images).shape[-1]


@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck"])
@pytest.mark.parametrize("stride", [1, 2])
def test_residual_blocks_are_those_of_torchvision(name: str, stride: int) -> None:
    """Names, order, initial values and results to the last bit, with and without a convolution beside."""
    blocks = []
    for module in (resnet, models.resnet):
        kind = getattr(module, name)
        channels = 4 * kind.expansion
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            shortcut = nn.Conv2d(channels, channels, 1, stride=stride) if stride > 1 else None
            blocks.append(kind(channels, 4, stride, shortcut))
    mine, theirs = blocks
    assert [name for name, _ in mine.named_modules()] == [name for name, _ in theirs.named_modules()]
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert all(map(torch.equal, mine.state_dict().values(), theirs.state_dict().values()))
    features = torch.randn(2, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mine(features.clone()), theirs(features.clone()))


def test_jobs_start_without_torchvision_and_torchs_compiler() -> None:
    """Each takes as long as all the rest, in every job; only networks that are torchvision's own need the one, and
    trainings the other.
    """
    modules = ", ".join(f"invgrad.{name}" for name in ("experiments.config", *(f"steps.{step}" for step in STEPS)))
    untrained = "State(build(LeNetZhu(), classes=10, size=32, seed=0), Training(epochs=0), seed=0)"
    code = f"""
import json, sys, {modules}
from invgrad.networks.build import build
from invgrad.networks.settings import LeNetZhu, Training
from invgrad.networks.training import State
{untrained}
print(json.dumps(list(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torchvision", "torch._dynamo"} & set(json.loads(shown))


def test_a_dense_layer_puts_its_own_features_first() -> None:
    layer = build(DenseNet(growth=4, blocks=(1,)), classes=10, size=32, seed=0)[1]
    features = torch.rand(1, 8, 5, 5)
    assert torch.equal(layer(features)[:, 4:], features)
    assert layer(features).shape == (1, 12, 5, 5)


def test_a_reversible_block_can_be_undone() -> None:
    """What makes an i-RevNet one: the inputs follow from the outputs."""
    block = build(IRevNet(blocks=(1, 1), width=4), classes=10, size=32, seed=0).blocks[1].double()
    a, b = torch.rand(2, 1, 4, 6, 6, dtype=torch.float64)
    kept, changed = block(a, b)
    for whole, squares in ((b, kept), (a, changed - block.change(b))):
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            channel = 4 * (2 * row + column)
            torch.testing.assert_close(squares[:, channel : channel + 4], whole[:, :, row::2, column::2])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "resnte"}, "network: unknown name 'resnte'; nearest: 'resnet'"),
        ({"name": "torchvision", "model": "resnet19"}, "model: unknown model 'resnet19'; nearest: 'resnet1"),
        (
            {"name": "torchvision", "model": "resnet18", "weights": "IMAGENET1K_V2"},
            "weights: unknown weights 'IMAGENET1K_V2'; nearest: 'IMAGENET1K_V1'",
        ),
        ({"name": "torchvision", "model": "vgg16", "weights": "IMAGENET1K_FEATURES"}, "unknown weights"),
        ({"name": "custom", "factory": "nets.mine.tied"}, "factory: string should match pattern"),
        ({"name": "irevnet", "width": 6}, "width: input should be a multiple of 4"),
        ({"name": "densenet", "blocks": []}, "blocks: tuple should have at least 1 item"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(Holder, {"network": settings}, "here")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Custom(factory="there.is:nothing"), "its module cannot be imported: No module named 'there'"),
        (Custom(factory="nets.broken:tied"), "nets/broken.py, line 1)"),
        (Custom(factory="nets.misspelt:tied"), "misspelt.py, line 1"),
        (Custom(factory="nets.mine:tide"), "unknown factory 'tide'; nearest: 'tied'"),
        (Custom(factory="nets.mine:number"), "is a int, not a function"),
        (Custom(factory="nets.mine:network"), "is a Tied, not a function"),
        (Custom(factory="nets.mine:needs_more"), "missing a required argument: 'depth'"),
        (Custom(factory="builtins:iter"), "no signature"),
        (Custom(factory="nets.mine:nothing"), "returns a NoneType instead of a torch.nn.Module"),
        (Custom(factory="nets.mine:tied", arguments={"depth": 3}), "unexpected keyword argument 'depth'"),
        (Custom(factory="nets.mine:tied", arguments={"classes": 3}), "multiple values for keyword argument 'classes'"),
        (Custom(factory="nets.mine:without_classes"), "is [1, 11] instead of logits [1, 10]"),
        (Custom(factory="nets.mine:for_one_size"), "takes no 32×32 images: mat1 and mat2 shapes"),
        (Torchvision(model="alexnet"), "takes no 32×32 images: Given input size"),
        (Torchvision(model="maxvit_t"), "takes no 32×32 images: Input size (8, 8)"),
        (Torchvision(model="resnet18", weights="DEFAULT"), "the weights are for 1000 classes, the data has 10"),
    ],
)
def test_a_network_that_cannot_be_built_is_one_clear_line(network: Network, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build(network, classes=10, size=32, seed=0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("factory", "arguments", "channels"),
    [
        ("all_by_place", {}, 3),
        ("all_by_place", {"width": 5}, 2),
        ("only_one", {}, 3),
        ("none_at_all", {}, 3),
        ("any_keyword", {"width": 5}, 3),
        ("grey", {}, 1),
        ("Own", {"width": 5}, 3),
    ],
)
def test_a_factory_gets_what_it_takes(factory: str, arguments: dict[str, Any], channels: int) -> None:
    settings = Custom(factory=f"nets.mine:{factory}", arguments=arguments)
    network = build(settings, classes=10, size=32, seed=0, channels=channels)
    assert network.once.in_features == arguments.get("width", 8)
    assert network(torch.zeros(2, channels, 32, 32)).shape == (2, 10)


def test_a_network_of_ours_takes_colour_images() -> None:
    with pytest.raises(SettingsError, match=r"LeNet \(Zhu\) takes images of 3 channels, not of 1"):
        build(LeNetZhu(), classes=10, size=32, seed=0, channels=1)


def test_an_invertible_network_needs_a_side_that_it_can_halve() -> None:
    with pytest.raises(SettingsError, match="takes no 30×30 images"):
        build(IRevNet(blocks=(1, 1, 1), width=4), classes=10, size=30, seed=0)


def test_a_transformer_is_built_for_the_size_of_its_images() -> None:
    network = outline(Torchvision(model="vit_b_32"), classes=10, size=64)
    assert network.state_dict()["encoder.pos_embedding"].shape[1] == 1 + 2 * 2


def test_default_weights_get_their_name() -> None:
    assert Torchvision(model="resnet50", weights="DEFAULT").weights == "IMAGENET1K_V2"


def test_published_weights_are_fetched_once_and_never_for_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Torchvision(model="densenet121", weights="IMAGENET1K_V1")
    published = build(settings.with_(weights=None), classes=1000, size=32, seed=7)
    # The published file has the names of an earlier torchvision.
    former = OrderedDict((name.replace(".norm1.", ".norm.1."), value) for name, value in published.state_dict().items())
    assert former.keys() != published.state_dict().keys()
    fetched = []

    def fetch(entry: WeightsEnum, **options: Any) -> Any:
        assert (options["check_hash"], options["weights_only"]) == (True, True)
        fetched.append(entry)
        return former

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fetch)
    outline(settings, classes=1000, size=32)
    assert fetched == []
    about = victim(settings, classes=1000, dataset="imagenet64", size=64)
    network = about.build()
    assert fetched == [models.DenseNet121_Weights.IMAGENET1K_V1]
    assert all(map(torch.equal, parameters(network), parameters(published)))
    save_victim(tmp_path / "victim.safetensors", about, network)
    loaded, _ = load_victim(tmp_path / "victim.safetensors", torch.device("cpu"))
    assert all(map(torch.equal, parameters(loaded), parameters(published)))
    assert len(fetched) == 1


def test_without_a_connection_the_error_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: Any, **__: Any) -> Any:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/cache")
    monkeypatch.setattr(WeightsEnum, "get_state_dict", fetch)
    with pytest.raises(SettingsError) as caught:
        build(Torchvision(model="resnet18", weights="IMAGENET1K_V1"), classes=1000, size=32, seed=0)
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth (<urlopen error no route to" in str(caught.value)
    assert str(caught.value).endswith("put that file at /cache/checkpoints/resnet18-f37072fd.pth")


def test_a_cached_file_of_another_network_or_with_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    place.parent.mkdir(parents=True)
    settings = Torchvision(model="squeezenet1_1", weights="DEFAULT")
    for content, words in (
        ({"weight": torch.zeros(1)}, "the published weights do not fit: Error"),
        ({"weight": Path("code")}, "Weights only load failed"),
    ):
        torch.save(content, place)
        with pytest.raises(SettingsError, match=words):
            build(settings, classes=1000, size=32, seed=0)
    place.write_bytes(b"not a checkpoint")
    with pytest.raises(SettingsError, match="cannot read https"):
        build(settings, classes=1000, size=32, seed=0)
    torch.save(build(settings.with_(weights=None), classes=1000, size=32, seed=5).state_dict(), place)
    assert build(settings, classes=1000, size=32, seed=0)(torch.rand(1, 3, 32, 32)).shape == (1, 1000)


@pytest.mark.parametrize("trusted", [None, TIED.with_(arguments={}), TIED.with_(factory="nets.other:tied")])
def test_a_checkpoint_runs_no_code_that_the_settings_do_not_name(trusted: Custom | None, tmp_path: Path) -> None:
    path = tmp_path / "victim.safetensors"
    save_victim(path, victim(TIED), victim(TIED).build())
    for name in ("nets", "nets.mine"):
        del sys.modules[name]
    with pytest.raises(SettingsError, match=r"names the code nets\.mine:tied"):
        load_victim(path, torch.device("cpu"), custom=trusted)
    assert "nets.mine" not in sys.modules


def test_tied_layers_stay_tied(tmp_path: Path) -> None:
    path = tmp_path / "victim.safetensors"
    save_victim(path, victim(TIED), victim(TIED).build())
    network, _ = load_victim(path, torch.device("cpu"), custom=TIED)
    assert network.again.weight is network.once.weight


def test_tensors_that_are_missing_or_unknown_are_named(tmp_path: Path) -> None:
    path = tmp_path / "victim.safetensors"
    network = victim(MLP(widths=(4,))).build()
    network.append(nn.Linear(10, 10))
    save_victim(path, victim(MLP(widths=(4,))), network)
    with pytest.raises(SettingsError, match=r"does not fit its own description: '4\.bias' is in one of them only"):
        load_victim(path, torch.device("cpu"))


def test_the_source_of_a_custom_network_is_all_of_the_users_files_that_it_imports(tmp_path: Path) -> None:
    code = tmp_path / "code"
    assert source_files(TIED) == [code / "nets" / "__init__.py", code / "nets" / "mine.py"]
    assert source_files(LeNetZhu()) == []
    texts = {
        "nets/__init__.py": "",
        "nets/imports.py": "import torch\nfrom nets.mine import tied\nfrom . import blocks\nimport parts.own.deep",
        "nets/blocks.py": "def late():\n    from constants import WIDTH\n    from .mine import number",
        "nets/unused.py": "",
        "constants.py": "from invgrad.networks.settings import LeNetZhu",
        "parts/__init__.py": "",
        "parts/own/deep.py": "import parts",
    }
    for name, text in texts.items():
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text(text)
    needed = {"nets/mine.py", *texts} - {"nets/unused.py"}
    assert source_files(Custom(factory="nets.imports:tied")) == sorted(code / name for name in needed)


HOSTILE = {
    "a wider network": (
        {"network": {"name": "convnet", "width": 1024}},
        "is [8, 3, 3, 3] instead of [1024, 3, 3, 3]",
    ),
    "another network": ({"network": {"name": "mlp", "widths": [2**15, 2**15]}}, "is in one of them only"),
    "a network of more than there is": (
        {"network": {"name": "mlp", "widths": [2**16] * 3}},
        "8,792,113,162 parameters",
    ),
    "a network too wide for any": ({"network": {"name": "convnet", "width": 2**20}}, "(nearest: 65536)"),
    "a network of endless blocks": ({"network": {"name": "densenet", "blocks": [2**40]}}, "(nearest: 1000)"),
    "more classes": ({"classes": 2**19}, "classes is 524288, but cifar10 has 10"),
    "countless classes": ({"classes": 2**60}, "out of range"),
    "larger images": ({"size": 2**13}, "size is 8192, but cifar10 has 32"),
    "endless images": ({"size": 2**31}, "out of range"),
    "an unknown data set": ({"dataset": "mine"}, "unknown data set 'mine'"),
    "no spread": ({"std": [0, 0, 0]}, "std.0: 0 is out of range"),
    "a negative spread": ({"std": [0.2, 0.2, -0.2]}, "std.2: -0.2 is out of range"),
    "no number as mean": ({"mean": [float("nan"), 0, 0]}, "nan is not a finite number"),
    "another shape": ({"mean": {"r": 1}}, "mean: "),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_strangers_checkpoint_says_is_not_believed(kind: str, tmp_path: Path) -> None:
    """Its network is compared with its tensors before it is built, which would take more memory than is left."""
    changes, words = HOSTILE[kind]
    path = tmp_path / "victim.safetensors"
    about = victim(ConvNet(width=8))
    write_tensors(path, copied_state(about.build()), about.model_dump(mode="json") | changes)
    with memory.limited(1 << 30), pytest.raises(SettingsError) as caught:
        load_victim(path, torch.device("cpu"))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("ending", ["weight", "running_var"])
def test_parameters_that_are_no_numbers_are_named(ending: str, value: float, tmp_path: Path) -> None:
    path = tmp_path / "victim.safetensors"
    about = victim(ConvNet(width=8))
    tensors = copied_state(about.build())
    name = next(each for each in tensors if each.endswith(ending))
    tensors[name].view(-1)[0] = value
    write_tensors(path, tensors, about.model_dump(mode="json"))
    with pytest.raises(SettingsError, match=f"'{name}' holds what is not a finite number"):
        load_victim(path, torch.device("cpu"))


@pytest.mark.parametrize("level", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "net."])
def test_a_checkpoint_of_a_training_framework_is_understood(level: str | None, prefix: str, tmp_path: Path) -> None:
    saved, network = (build(LeNetZhu(), classes=10, size=32, seed=seed) for seed in (1, 2))
    state: dict[str, Any] = {prefix + name: tensor for name, tensor in saved.state_dict().items()}
    torch.save({level: state, "epoch": 3} if level else state, tmp_path / "a.ckpt.pt")
    load_state(network, tmp_path / "a.ckpt.pt")
    assert all(torch.equal(each, mine) for each, mine in zip(saved.parameters(), network.parameters(), strict=True))
    more = {**state, f"{prefix}head.weight": torch.zeros(1)}
    torch.save({level: more} if level else more, tmp_path / "more.pt")
    with pytest.raises(SettingsError, match=r"more\.pt: does not fit the network: .*head\.weight"):
        load_state(network, tmp_path / "more.pt")
    state.popitem()
    torch.save({level: state} if level else state, tmp_path / "less.pt")
    with pytest.raises(SettingsError, match=r"less\.pt: does not fit the network"):
        load_state(network, tmp_path / "less.pt")
