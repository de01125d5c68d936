"""The benchmark: which cases are timed, and what a step takes of a machine's limits, by hand."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from invgrad.attack.lbfgs import HISTORY
from invgrad.cli.main import bench as command
from invgrad.networks.build import initial
from invgrad.networks.settings import ConvNet, LeNetZhu
from invgrad.performance import cases
from invgrad.performance import limits as limits_module
from invgrad.performance.bench import bench, met_on
from invgrad.performance.cases import CASES, Case
from invgrad.performance.cost import BenchRow, Speed
from invgrad.performance.limits import MATRIX_SIDE, TRIAD_LENGTH, Limits, least_bytes
from invgrad.settings import SettingsError
from invgrad.tangent.kernels.library import library

CPU, GPU = torch.device("cpu"), torch.device("cuda")
PARAMETERS, PIXELS, OUTPUTS = 15_826, 3 * 32 * 32, 12 * (16 * 16 + 8 * 8 + 8 * 8) + 10
"""Of LeNet: values of one image, and what its three convolutions and its linear layer compute for one."""


def bytes_of(case: Case, steps: int = 1) -> int:
    network = initial(case.network, classes=10, size=32, seed=0)
    return least_bytes(case, network, torch.zeros(case.images, 3, 32, 32), steps)


def test_a_cpu_times_only_trials_that_it_takes_at_once() -> None:
    several = tuple(case for case in CASES if case.trials > 1)
    assert met_on(GPU, several) == several
    met = met_on(CPU, (CASES[0], *several))
    assert met[0] == CASES[0]
    small = {"ResNet-20, width 16", "ResNet-18, width 16"} if library("program") else set()
    assert {case.name for case in met} == {"LeNet (Zhu)", "LeNet (Zhu), L-BFGS"} | small
    assert {case.name for case in several if case not in met} == {
        "ConvNet, width 64, 5 local steps",
        "ResNet-20, width 64",
        "ResNet-18 of ImageNet, 224×224",
    } | ({"ResNet-20, width 16", "ResNet-18, width 16"} - small)
    one = Case("ConvNet, width 64", ConvNet())
    assert met_on(CPU, (one,)) == (one,)


def test_networks_are_chosen_by_parts_of_their_names() -> None:
    assert cases.named([]) == CASES
    found = [case.name for case in cases.named(["efficientnet", "L-BFGS"])]
    assert found == ["LeNet (Zhu), L-BFGS", "EfficientNet-Lite0, 64×64", "EfficientNet-Lite0, 224×224"]
    with pytest.raises(SettingsError, match=r"--network: unknown network 'VGG'; nearest: .*known: ConvNet, width 64, "):
        cases.named(["LeNet", "VGG"])


def test_a_file_that_cannot_be_written_is_told_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limits, "of", lambda device: pytest.fail("it began to measure"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        command(network=["L-BFGS"], out=tmp_path / "file/bench.json", device="cpu")


def test_least_bytes_of_a_gradient_by_hand() -> None:
    """Two trials of three images: the parameters, two shared gradients, seven passes of six images."""
    case = Case("LeNet", LeNetZhu(), trials=2, images=3)
    assert bytes_of(case) == 4 * (3 * PARAMETERS + 7 * 6 * OUTPUTS)
    assert bytes_of(case, steps=5) == 5 * bytes_of(case)


def test_lbfgs_reads_its_history_for_every_gradient() -> None:
    """It grows by a pair of vectors with each of 20 gradients a step, until it is full."""
    gradients = Case("LeNet", LeNetZhu(), trials=2), 7 * 20
    of_gradients = bytes_of(*gradients)
    pairs = sum(range(HISTORY)) + 40 * HISTORY
    assert bytes_of(Case("LeNet", LeNetZhu(), trials=2, step="l-bfgs"), 7) == of_gradients + 4 * 2 * 2 * pairs * PIXELS


def test_limits_are_counted_from_the_time_that_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    def two_milliseconds(functions: Sequence[Callable[[], object]], rounds: int, device: torch.device) -> list[float]:
        for function in functions:
            function()
        return [2.0 + number for number in range(len(functions))]

    monkeypatch.setattr(limits_module, "alternately", two_milliseconds)
    monkeypatch.setattr(limits_module, "TRIAD_LENGTH", 1_000_000)
    limits = Limits.of(CPU)
    assert limits.bandwidth == 6.0, "12 MB in 2 ms"
    assert limits.matrix_rate == pytest.approx(2 * MATRIX_SIDE**3 / 2e6, abs=0.1), "by the faster of two methods"
    assert 3 * 4 * TRIAD_LENGTH > 256 * 2**20, "no cache holds it"


@pytest.mark.parametrize(("bandwidth", "bound"), [(1e-3, "memory"), (1e6, "matrix products")])
def test_a_row_says_what_bounds_it_and_how_far_it_is_from_there(bandwidth: float, bound: str) -> None:
    case = Case("LeNet (Zhu)", LeNetZhu(), trials=2)
    (row,) = bench((case,), 1, Limits(100.0, bandwidth), CPU, None)
    seconds = 2 * row["ms_per_trial_iteration"] / 1000
    gigaflops = 2 * 7 * 2 * (256 * 12 * 75 + 2 * 64 * 12 * 300 + 768 * 10) / 1e9
    assert row["bound_by"] == bound
    assert row["share_of_matrix_rate"] == pytest.approx(gigaflops / 100 / seconds, rel=0.05, abs=0.001)
    assert row["share_of_bandwidth"] == pytest.approx(bytes_of(case) / 1e9 / bandwidth / seconds, rel=0.01, abs=0.001)
    assert BenchRow.model_validate(row).bound_by == bound


def test_the_file_has_the_limits_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "CASES", CASES[:1])
    monkeypatch.setattr(limits_module, "matrix_rate", lambda device: 123.45)
    monkeypatch.setattr(limits_module, "bandwidth", lambda device: 6.78)
    command(rounds=1, out=tmp_path / "bench.json", device="cpu")
    content = json.loads((tmp_path / "bench.json").read_text())
    assert (content["matrix_rate"], content["bandwidth"]) == (123.5, 6.8)
    assert Speed.read(tmp_path / "bench.json").measured[0].forward > 0
