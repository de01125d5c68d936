"""What a plan costs: counts and arithmetic by hand, and the numbers of the bench file found again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from invgrad.clients.settings import STEPS_AT_ONCE, Client, FederatedAveraging, GradientClient
from invgrad.experiments.jobs import JobKind
from invgrad.networks.build import initial, outline
from invgrad.networks.facts import NetworkCost
from invgrad.networks.operations import image_gigaflops
from invgrad.networks.settings import MLP, ConvNet, DenseNet, IRevNet, LeNetZhu, ResNet, Torchvision
from invgrad.objective.autodiff import Objective
from invgrad.objective.distances import squares
from invgrad.objective.settings import Cosine
from invgrad.objective.targets import Targets
from invgrad.performance.cases import LOCAL_STEPS, passes
from invgrad.performance.cost import (
    BENCH,
    GPU_BENCH,
    JOB_SECONDS,
    RECOMPUTED,
    START_SECONDS,
    Speed,
    TrainingWork,
    Work,
    recomputed,
)
from invgrad.performance.estimate import WIDTH, estimate, report, wall_seconds
from invgrad.settings import SettingsError


def cost(network: Any, classes: int = 10, size: int = 32) -> NetworkCost:
    return NetworkCost.of(outline(network, classes=classes, size=size), size)


LENET, CONVNET = cost(LeNetZhu()), cost(ConvNet())
RESNET = cost(Torchvision(model="resnet152"), classes=1000, size=224)


@pytest.fixture(scope="module")
def speed() -> Speed:
    return Speed.read(BENCH)


@pytest.fixture(scope="module")
def gpu() -> Speed:
    return Speed.read(GPU_BENCH)


def tiny(bias: bool) -> NetworkCost:
    """One linear layer from 3·4·4 values to 10 classes: 2·48·10 operations."""
    return NetworkCost.of(nn.Sequential(nn.Flatten(), nn.Linear(48, 10, bias=bias, device="meta")), 4)


def work(network: NetworkCost = LENET, **changes: Any) -> Work:
    settings: dict[str, Any] = {
        "cell": "cell",
        "group": "clients",
        "network": network,
        "size": 32,
        "clients": 100,
        "images": 1,
        "local_steps": 0,
        "batch": 1,
        "restarts": 1,
        "iterations": 4800,
        "gradients_per_iteration": 1,
        "seeds": 1,
        "jobs": 1,
        "snapshots": 0,
    }
    return Work(**settings | changes)


def training(network: NetworkCost = LENET, **changes: Any) -> TrainingWork:
    settings: dict[str, Any] = {
        "victim": "victim",
        "network": network,
        "dataset": "cifar10",
        "size": 32,
        "images": 50_000,
        "epochs": 120,
        "seeds": 1,
        "snapshots": 1,
    }
    return TrainingWork(**settings | changes)


def bench_row(path: Path = BENCH, **where: Any) -> dict[str, Any]:
    """The row of the bench file with these values."""
    rows = json.loads(path.read_text())["rows"]
    (found,) = [row for row in rows if where.items() <= row.items()]
    return dict(found)


def test_two_tiny_networks_by_hand(speed: Speed, gpu: Speed) -> None:
    one = work(tiny(bias=True), cell="a", group="a", size=4, clients=6, restarts=5, iterations=7, seeds=2, jobs=4)
    two = work(tiny(bias=False), cell="b", group="b", size=4, clients=3, images=2, batch=2, iterations=11, snapshots=9)
    victim = training(one.network, size=4, images=1000, epochs=3, seeds=2, snapshots=4)
    kinds: dict[JobKind, int] = {"attack": 5, "victim": 2, "data": 3, "share": 4, "notebook": 2, "all": 1}
    table = estimate([one, two], [victim], {"x": ["a"], "y": ["b"]}, kinds, speed, gpu).set_index("row")
    counts = table[["jobs", "cells", "trials", "trial_iterations", "gradients"]]
    assert counts.loc["x"].tolist() == [4, 1, 60, 420, 420]
    assert counts.loc["y"].tolist() == [1, 1, 3, 33, 33]
    assert counts.loc["data, sharing, measuring"].tolist() == [7, 0, 0, 0, 0]
    assert counts.loc["notebooks, verdicts, report"].tolist() == [2, 0, 0, 0, 0]
    assert counts.loc["total"].tolist() == [sum(kinds.values()), 2, 63, 453, 453]

    pixels = 3 * 4 * 4
    shared, truth, images = 12 * 490 * 4, 12 * pixels, 12 * pixels * 4
    assert table.shared_gb["x"] == pytest.approx(shared / 1e9)
    assert table.disk_gb["x"] == pytest.approx((shared + truth + images) / 1e9)
    shared, truth, images, trajectories = 3 * 480 * 4, 6 * pixels, 6 * pixels * 4, 6 * pixels * 9 * 2
    assert table.shared_gb["y"] == pytest.approx(shared / 1e9)
    assert table.disk_gb["y"] == pytest.approx((shared + truth + images + trajectories) / 1e9)
    trained = "training victim"
    assert table.disk_gb[trained] == pytest.approx(2 * 4 * 490 * 4 / 1e9)
    assert table.disk_gb["data, sharing, measuring"] == pytest.approx(1000 * pixels / 1e9)

    forward = 2 * 48 * 10 / 1e9
    assert one.gigaflops == pytest.approx(7 * forward)
    assert two.gigaflops == pytest.approx(7 * 2 * forward)
    for column, device in (("device_hours", speed), ("gpu_hours", gpu)):
        rate = device.rate(one.network, 4, "training", 128)
        around = 2 * device.job_hours("victim")
        assert table[column][trained] == pytest.approx(3 * 2 * 3000 * forward / rate / 3600 + around)
        rate = device.rate(one.network, 4, "gradient", 15)  # trials in each of four jobs
        around = 4 * device.job_hours("attack")
        assert table[column]["x"] == pytest.approx(420 * 7 * forward / rate / 3600 + around)
        around = 3 * device.job_hours("data") + 4 * device.job_hours("share")
        assert table[column]["data, sharing, measuring"] == pytest.approx(around)


def test_on_a_gpu_trials_of_a_wide_network_run_together(speed: Speed, gpu: Speed) -> None:
    assert gpu.on_gpu
    assert not speed.on_gpu
    ms = bench_row(GPU_BENCH, network="ResNet-20, width 64", trials=10)["ms_per_trial_iteration"]
    wide = cost(ResNet(depth=20, width=64))
    assert gpu.attack_hours(work(wide, jobs=10)) == pytest.approx(480_000 * ms / 3.6e6)
    alone = bench_row(network="ResNet-20, width 64", trials=1, images=1)["ms_per_trial_iteration"]
    assert speed.attack_hours(work(wide, jobs=10)) == pytest.approx(480_000 * alone / 3.6e6)


@pytest.mark.parametrize("trials", [1, 20, 32, 100])
def test_lenet_takes_what_the_bench_says(speed: Speed, trials: int) -> None:
    """The clients of two jobs, each with as many trials at once as the bench."""
    ms = bench_row(network="LeNet (Zhu)", trials=trials, images=1)["ms_per_trial_iteration"]
    hours = speed.attack_hours(work(clients=2 * trials, jobs=2))
    assert hours == pytest.approx(2 * trials * 4800 * ms / 1000 / 3600)


def test_other_kinds_of_work_take_what_the_bench_says(speed: Speed) -> None:
    lbfgs = bench_row(network="LeNet (Zhu), L-BFGS")["ms_per_trial_iteration"]
    hours = speed.attack_hours(work(clients=2, restarts=16, iterations=500, gradients_per_iteration=20))
    assert hours == pytest.approx(32 * 500 * lbfgs / 3.6e6)
    convnet = bench_row(network="ConvNet, width 64", images=4)
    assert speed.attack_hours(work(CONVNET, images=4, batch=4)) == pytest.approx(
        480_000 * convnet["ms_per_trial_iteration"] / 3.6e6
    )
    imagenet = bench_row(network="ResNet-18 of ImageNet, 224×224", trials=1)["ms_per_trial_iteration"]
    ratio = RESNET.gigaflops / cost(Torchvision(model="resnet18"), classes=1000, size=224).gigaflops
    assert speed.attack_hours(work(RESNET, size=224)) == pytest.approx(480_000 * ratio * imagenet / 3.6e6)


def test_local_steps_take_what_the_bench_says(speed: Speed, tmp_path: Path) -> None:
    one = bench_row(network="ConvNet, width 64", images=1)
    timed = one | {"network": "ConvNet, width 64, 5 local steps", "ms_per_trial_iteration": 300.0}
    content = json.loads(BENCH.read_text())
    content["rows"] = [row for row in content["rows"] if row["network"] != timed["network"]]
    older, newer = tmp_path / "older.json", tmp_path / "newer.json"
    older.write_text(json.dumps(content))
    newer.write_text(json.dumps(content | {"rows": [*content["rows"], timed]}))

    few, many = work(CONVNET, local_steps=LOCAL_STEPS), work(CONVNET, local_steps=20)
    ratio = passes(20) / passes(LOCAL_STEPS)
    by_hand = Speed.read(newer)
    assert by_hand.attack_hours(few) == pytest.approx(480_000 * 300 / 3.6e6)
    assert by_hand.attack_hours(many) == pytest.approx(480_000 * ratio * 300 / 3.6e6)
    gpu = replace(by_hand, device="cuda: NVIDIA H100")
    assert gpu.attack_hours(many) == by_hand.attack_hours(many)
    fewer = CONVNET.size.model_copy(update={"parameters": 1000})
    small = CONVNET.model_copy(update={"size": fewer})  # whose trials a GPU takes all at once
    at_once = work(small, local_steps=20)
    assert gpu.attack_hours(at_once) == pytest.approx(RECOMPUTED * by_hand.attack_hours(at_once))
    released = one["released_ms"] * passes(20) / passes(1)
    assert Speed.read(older).attack_hours(many) == pytest.approx(480_000 * released / 3.6e6)
    narrow = bench_row(network="LeNet (Zhu)", trials=1)["released_ms"] * passes(20) / passes(1)
    assert speed.attack_hours(work(local_steps=20)) == pytest.approx(480_000 * RECOMPUTED * narrow / 3.6e6)


def test_lbfgs_of_a_wide_network_costs_its_gradients(speed: Speed) -> None:
    twenty = work(CONVNET, iterations=100, gradients_per_iteration=20)
    assert speed.attack_hours(twenty) == pytest.approx(speed.attack_hours(work(CONVNET, iterations=2000)))


@pytest.mark.parametrize("network", [LENET, CONVNET], ids=["narrow", "wide"])
@pytest.mark.parametrize("device", ["speed", "gpu"])
@pytest.mark.parametrize("what", ["iterations", "jobs and clients", "jobs and seeds"])
def test_twice_the_work_takes_twice_the_time(
    network: NetworkCost, device: str, what: str, request: pytest.FixtureRequest
) -> None:
    once = work(network)
    twice = replace(once, **{name: 2 * getattr(once, name) for name in what.split(" and ")})
    taken = request.getfixturevalue(device).attack_hours
    assert taken(twice) == pytest.approx(2 * taken(once))


def test_twice_the_images_take_twice_the_time(speed: Speed) -> None:
    """From the bench's largest batch on; before that, images at once gain."""
    few, many = (speed.attack_hours(work(CONVNET, images=n, batch=n)) for n in (8, 16))
    assert many == pytest.approx(2 * few)
    assert speed.attack_hours(work(CONVNET, images=1, batch=1)) < few < 8 * speed.attack_hours(work(CONVNET))
    assert speed.training_hours(training(images=100)) == pytest.approx(2 * speed.training_hours(training(images=50)))


def test_an_analytic_attack_takes_no_time(speed: Speed, gpu: Speed) -> None:
    analytic = work(cost(MLP()), iterations=0)
    assert speed.attack_hours(analytic) == gpu.attack_hours(analytic) == 0


def test_what_several_artefacts_show_counts_once(speed: Speed, gpu: Speed) -> None:
    works = [work(cell="a"), work(cell="b"), work(cell="c", group="others")]
    artefacts = {"first": ["a", "b"], "second": ["c", "a"], "third": ["b"], "fourth": []}
    table = estimate(works, [], artefacts, {}, speed, gpu).set_index("row")
    assert table.cells.drop("data, sharing, measuring").tolist() == [2, 1, 0, 0, 3]
    assert table.shared_gb["first"] == table.shared_gb["second"], "a and b attack the same clients"
    assert table.shared_gb["total"] == pytest.approx(2 * 100 * 15_826 * 4 / 1e9)
    each = table.drop("total")
    assert table.loc["total"].tolist() == pytest.approx(each.sum().tolist())


def test_data_are_counted_once_and_untrained_victims_take_little_time(speed: Speed, gpu: Speed) -> None:
    works = [training(epochs=0, images=0), training(victim="a"), training(victim="b"), training(dataset="cifar100")]
    table = estimate([], works, {}, {}, speed, gpu).set_index("row")
    assert table.disk_gb["data, sharing, measuring"] == pytest.approx(2 * 50_000 * 3072 / 1e9)
    untrained = table.loc["victims that are not trained"]
    around = [device.job_hours("victim") for device in (gpu, speed)]
    assert [untrained.jobs, untrained.gpu_hours, untrained.device_hours] == pytest.approx([1, *around])
    assert untrained.disk_gb == pytest.approx(15_826 * 4 / 1e9)


@pytest.mark.parametrize(
    "client",
    [GradientClient(), FederatedAveraging(steps=1), FederatedAveraging(epochs=2, batch_size=2)],
    ids=["gradient", "one step", "four steps"],
)
def test_passes_of_federated_averaging_are_counted(client: Client) -> None:
    """What plain automatic differentiation does, by torch's counter."""
    network = initial(ConvNet(width=4), classes=10, size=32, seed=0)
    target = tuple(torch.randn(1, *each.shape) for each in network.parameters())
    ones = torch.ones(1, len(target))
    targets = Targets(target=target, squares=squares(target), weights=ones, chosen=ones)
    images, labels = torch.randn(1, 4, 3, 32, 32), torch.zeros(1, 4, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        Objective(network, client, Cosine(), 0).gradient(images, labels, targets)
    several = isinstance(client, FederatedAveraging) and client.epochs is not None
    steps, batch = (4, 2) if several else (1, 4)
    expected = passes(steps) * batch * image_gigaflops(network, 32)
    assert counter.get_total_flops() / 1e9 == pytest.approx(expected, rel=0.02)


def test_many_local_steps_are_recomputed() -> None:
    assert (passes(0), passes(1), passes(10), passes(100)) == (7, 8, 89, 899)
    assert (recomputed(0), recomputed(STEPS_AT_ONCE), recomputed(100)) == (1, 1, RECOMPUTED)


@pytest.mark.parametrize(
    ("settings", "size", "classes", "gigaflops"),
    [
        (LeNetZhu(), 32, 10, 2 * (256 * 12 * 75 + 2 * 64 * 12 * 300 + 768 * 10) / 1e9),
        (Torchvision(model="resnet18"), 224, 1000, 2 * 1.814),
        (Torchvision(model="resnet152"), 224, 1000, 2 * 11.51),
    ],
    ids=["LeNet", "ResNet-18", "ResNet-152"],
)
def test_operations_of_known_networks(settings: Any, size: int, classes: int, gigaflops: float) -> None:
    """The ResNets' are published as multiply-adds."""
    network = outline(settings, classes=classes, size=size)
    before = {name: each.training for name, each in network.named_modules()}
    assert image_gigaflops(network, size) == pytest.approx(gigaflops, rel=1e-3)
    assert {name: each.training for name, each in network.named_modules()} == before


@pytest.mark.parametrize("settings", [ResNet(depth=18, width=16), MLP(), DenseNet(), IRevNet()], ids=lambda s: s.name)
def test_operations_do_not_depend_on_the_values(settings: Any) -> None:
    with_values = initial(settings, classes=10, size=32, seed=0)
    without = outline(settings, classes=10, size=32)
    assert image_gigaflops(without, 32) == image_gigaflops(with_values, 32) > 0


class LooksAtValues(nn.Module):
    """Cannot run without values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(48, 10, device="meta")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = images.flatten(1)
        return self.layer(features + float(images.sum()))


def test_a_network_that_looks_at_values_is_counted_with_some() -> None:
    assert image_gigaflops(LooksAtValues(), 4) == pytest.approx(2 * 48 * 10 / 1e9)


def test_the_report_says_where_the_hours_come_from(speed: Speed, gpu: Speed) -> None:
    table = estimate([work()], [training()], {"table1": ["cell"]}, {}, speed, gpu)
    text = report(table, speed, gpu)
    assert f"- 1 GPU: {gpu.device}, by the packaged bench-gpu.json (torch {gpu.torch})" in text
    assert f"- {speed.threads} cores: {speed.device}, by the packaged bench.json (torch {speed.torch})" in text
    assert f" {speed.threads} cores |" in text
    assert "| table1 " in text
    assert "480,000" in text
    assert "| training victim " in text
    assert "Disk: <0.1 of 0.2 GB are what clients share" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= WIDTH == 100
    assert "by x/own.json (" in report(table, replace(speed, source="x/own.json"), gpu)


def test_more_devices_take_less_time_until_one_job_is_all_that_is_left(speed: Speed, gpu: Speed) -> None:
    seconds = [10.0, *[1.0] * 20]
    assert [wall_seconds(seconds, gpu, number) for number in (1, 2, 4)] == [30, 20, 15]
    assert wall_seconds(seconds, gpu, 10**6) == pytest.approx(10, rel=1e-4)
    two_threads = replace(speed, threads=2)
    assert [wall_seconds(seconds, two_threads, number) for number in (1, 2, 4, 8)] == [60, 30, 20, 15]


def test_a_job_takes_its_time_besides_its_attack(speed: Speed, gpu: Speed) -> None:
    assert speed.job_hours("notebook") == pytest.approx(JOB_SECONDS["notebook"] / speed.threads / 3600)
    assert gpu.job_hours("attack") == pytest.approx((JOB_SECONDS["attack"] + START_SECONDS) / 3600)
    assert gpu.job_hours("all") == pytest.approx(JOB_SECONDS["all"] / 3600), "Snakemake starts once"


@pytest.mark.parametrize("path", [BENCH, GPU_BENCH], ids=lambda path: path.stem)
def test_training_takes_what_the_bench_says(path: Path) -> None:
    ms = bench_row(path, network="LeNet (Zhu), training")["ms_per_trial_iteration"]
    assert Speed.read(path).training_hours(training(images=128)) == pytest.approx(120 * ms / 3.6e6)


def test_a_resnet_takes_what_was_timed_at_its_own_width(tmp_path: Path) -> None:
    """In a file that has limits of the machine as well, unlike the packaged ones of before."""
    row = bench_row(network="ResNet-18, width 64", images=1)
    narrower = row | {"network": "ResNet-18, width 32", "ms_per_trial_iteration": 37.0}
    narrower |= {"share_of_bandwidth": 0.2, "bound_by": "memory"}
    content = json.loads(BENCH.read_text())
    others = [each for each in content["rows"] if each["network"] != narrower["network"]]
    content |= {"matrix_rate": 100.0, "bandwidth": 20.0, "rows": [*others, narrower]}
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(content))
    speed = Speed.read(path)
    assert speed.attack_hours(work(cost(ResNet(depth=18, width=32)))) == pytest.approx(480_000 * 37 / 3.6e6)
    of_64 = 480_000 * row["ms_per_trial_iteration"] / 3.6e6
    assert speed.attack_hours(work(cost(ResNet(depth=18, width=64)))) == pytest.approx(of_64)


def with_first_row(**changes: Any) -> str:
    content = json.loads(BENCH.read_text())
    content["rows"][0] |= changes
    return json.dumps(content)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("no JSON", "not a file that `invgrad bench --out` wrote"),
        ("[]", "input should be a valid dictionary"),
        (json.dumps(json.loads(BENCH.read_text()) | {"rows": []}), "rows: "),
        (with_first_row(network="LeNet"), "rows.0.network: unknown network 'LeNet'; nearest: 'LeNet (Zhu)'"),
        (with_first_row(released_ms=0), "rows.0.released_ms: 0 is out of range"),
        (with_first_row(trails=1), "unknown key 'trails'; nearest: 'trials'"),
    ],
    ids=["not JSON", "a list", "no rows", "unknown network", "out of range", "unknown key"],
)
def test_another_file_is_refused_in_one_line(content: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(content)
    with pytest.raises(SettingsError) as caught:
        Speed.read(path)
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.json: not a file"):
        Speed.read(tmp_path / "none.json")


def test_a_bench_of_some_networks_does_not_stand_for_others(tmp_path: Path) -> None:
    content = json.loads(BENCH.read_text())
    content["rows"] = content["rows"][:4]
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(content))
    with pytest.raises(SettingsError, match="has no wide network; run `invgrad bench` without --network"):
        Speed.read(path).attack_hours(work(CONVNET))
