"""Command line: one command for each step of the pipeline, which the rules call, and commands for people."""

import json
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from invgrad import __version__
from invgrad.runtime.signals import Interrupted, stoppable

# The rest is imported by the command that needs it, so that help and errors of the command line appear at once.

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

STEPS = "Steps of the pipeline, each called by a rule of the workflow"
"""The second group of commands in the help; the others are for people."""

JSON = "JSON, or the name of a JSON or YAML file."

Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda, cuda:1, …")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves it to torch.")]
Step = Annotated[str, typer.Option("--settings", help="The step's settings: " + JSON)]
Out = Annotated[Path, typer.Option(help="The file to write; its provenance record is written beside it.")]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Where the state of the unfinished job is kept and found; default: beside --out.")
]
EverySeconds = Annotated[float, typer.Option(min=0.001, help="Write the state after so many seconds …")]
EveryIterations = Annotated[int, typer.Option(min=1, help="… or so many iterations, whichever comes first.")]
File = typer.Option(exists=True, dir_okay=False)

ARRAYS = "a .safetensors, .pt, .pth or .npz file."
OwnNetwork = Annotated[
    str | None,
    typer.Option(
        help="lenet-zhu, resnet:depth=18,width=64, torchvision:model=resnet18,weights=DEFAULT …; a function of yours "
        "that returns one, file.py:function,width=32 or module:function; or " + JSON
    ),
]
OwnCheckpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        "--victim",
        exists=True,
        dir_okay=False,
        help="A victim's checkpoint, or parameters for --network: " + ARRAYS,
    ),
]
OwnClasses = Annotated[int | None, typer.Option(help="Its number of classes, where no --dataset tells it.")]
OwnSize = Annotated[int | None, typer.Option(help="Height and width of its images in pixels, likewise.")]
OwnChannels = Annotated[int | None, typer.Option(help="Their channels; default: 3.")]
OwnMean = Annotated[str, typer.Option(help="Mean of each, of values in [0, 1]: 0.49,0.48,0.45; default: 0.")]
OwnStd = Annotated[str, typer.Option(help="Standard deviation of each; default: 1.")]
OwnSeed = Annotated[int, typer.Option(min=0, help="Seed of the network's parameters and of the attack's noise.")]
Shares = Annotated[str, typer.Option(help="gradient, federated-averaging:steps=5,learning_rate=1e-4 …, or " + JSON)]
AttackChanges = Annotated[str, typer.Option(help="Changes to the proposed attack: " + JSON)]
AttackChange = Annotated[
    list[str] | None, typer.Option("--set", help="One more setting of the attack: restarts=8, optimiser.kind=lbfgs …")
]


def _print_version(asked: bool) -> None:
    if asked:
        print(f"invgrad {__version__}")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    log: Annotated[
        Path | None, typer.Option(help="Write the command's output to this file instead of the terminal.")
    ] = None,
) -> None:
    """Attack clients of federated learning by their gradients, and rebuild the paper's tables and figures."""
    if log:
        from invgrad.cli.log import write_to

        write_to(log)


@app.command(rich_help_panel=STEPS)
def data(
    dataset: Annotated[str, typer.Option(help="cifar10, cifar100, imagenet or photos10.")],
    split: Annotated[str, typer.Option(help="train or validation.")],
    source: Annotated[str, typer.Option(help="packaged, torchvision or folder.")],
    out: Out,
    root: Annotated[Path | None, typer.Option(help="The folder of your data sets.")] = None,
    index: Annotated[list[int] | None, typer.Option(help="Only the images at these positions of the split.")] = None,
) -> None:
    """Prepare one split of a data set as one file."""
    from invgrad.steps.data import prepare

    prepare(dataset, split, source, root, out, index)


@app.command(rich_help_panel=STEPS)
def train(
    settings: Step,
    out: Out,
    validation: Annotated[
        Path | None, typer.Option(exists=True, help="The validation split; without it the registry describes the data.")
    ] = None,
    data: Annotated[Path | None, typer.Option(exists=True, help="The training split, if it is to be trained.")] = None,
    trained: Annotated[
        Path | None, typer.Option(exists=True, help="A checkpoint of this training, to be taken in place of training.")
    ] = None,
    checkpoint: Checkpoint = None,
    every_seconds: EverySeconds = 60,
    every_iterations: EveryIterations = 500,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Build a victim network, train it if its settings say so, and write its checkpoint."""
    from invgrad.networks.settings import TrainStep
    from invgrad.runtime.settings import CheckpointInterval
    from invgrad.steps.train import take_trained, train_victim

    if trained:
        take_trained(_step(TrainStep, settings), trained, out)
        return
    every = CheckpointInterval(seconds=every_seconds, iterations=every_iterations)
    with stoppable() as stop:
        on = _start(device, threads)
        train_victim(_step(TrainStep, settings), validation, data, out, checkpoint, on, every, stop)


@app.command(rich_help_panel=STEPS)
def share(
    settings: Step,
    victim: Annotated[Path, File],
    data: Annotated[Path, File],
    out: Out,
    truth: Annotated[Path, typer.Option(help="Where to write the clients' images, for the metrics alone.")],
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Compute what each client shares with the server."""
    from invgrad.clients.settings import ShareStep
    from invgrad.steps.share import share_shard

    share_shard(_step(ShareStep, settings), victim, data, out, truth, _start(device, threads))


@app.command(rich_help_panel=STEPS)
def attack(
    settings: Step,
    victim: Annotated[Path, File],
    shared: Annotated[Path, File],
    out: Out,
    checkpoint: Checkpoint = None,
    every_seconds: EverySeconds = 60,
    every_iterations: EveryIterations = 500,
    memory: Annotated[float, typer.Option(min=0, help="GiB for the trials at once; 0: 2, or what a GPU has.")] = 0,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Reconstruct the clients' images from what they shared."""
    from invgrad.attack.settings import AttackStep
    from invgrad.runtime.settings import CheckpointInterval
    from invgrad.steps.attack import attack_shard

    every = CheckpointInterval(seconds=every_seconds, iterations=every_iterations)
    with stoppable() as stop:
        on, allowed = _start(device, threads), int(memory * 2**30) or None
        attack_shard(_step(AttackStep, settings), victim, shared, out, checkpoint, on, allowed, every, stop)


@app.command(rich_help_panel=STEPS)
def measure(
    cell: Annotated[str, typer.Option(help="The name of the cell, for the rows.")],
    seed: Annotated[int, typer.Option(help="The network seed.")],
    reconstruction: Annotated[list[Path], File],
    truth: Annotated[list[Path], File],
    out: Out,
    others: Annotated[
        Path | None, typer.Option(exists=True, help="A split, to judge among its images whether one was recovered.")
    ] = None,
    judged_among: Annotated[int | None, typer.Option(min=1, help="Only the first so many of them.")] = None,
) -> None:
    """Compare the reconstructions of a cell and network seed with the truth: one row per image."""
    from invgrad.steps.measure import measure as run

    _one_of_each_a_shard(reconstruction=reconstruction, truth=truth)
    run(cell, seed, reconstruction, truth, out, others, judged_among)


@app.command(rich_help_panel=STEPS)
def activations(
    cell: Annotated[str, typer.Option(help="The name of the cell, for the rows.")],
    seed: Annotated[list[int], typer.Option(help="The network seed of each shard.")],
    victim: Annotated[list[Path], File],
    reconstruction: Annotated[list[Path], File],
    truth: Annotated[list[Path], File],
    out: Out,
    custom: Annotated[str | None, typer.Option(help="The victim's network, if it is your own: " + JSON)] = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Compare the activations of a cell's reconstructions with those of the truth, layer by layer."""
    from invgrad.networks.settings import Custom
    from invgrad.steps.activations import activations as run

    _one_of_each_a_shard(seed=seed, victim=victim, reconstruction=reconstruction, truth=truth)
    network = _step(Custom, custom, "--custom") if custom else None
    run(cell, list(zip(seed, victim, reconstruction, truth, strict=True)), out, _start(device, threads), network)


@app.command(rich_help_panel=STEPS)
def verdict(
    paper_values: Annotated[Path, File],
    rows: Annotated[Path, typer.Option(help="Where to write all per-image rows.")],
    metrics: Annotated[Path, typer.Option(help="Where to write a summary for comparing two runs: JSON.")],
    description: Annotated[Path, typer.Option(exists=True, help="What `invgrad describe` wrote.")],
    out: Out,
    table: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="The rows of a cell; none if none was run.")
    ] = None,
) -> None:
    """Put each value that the paper reports beside ours, with a verdict."""
    from invgrad.steps.verdict import write_verdicts

    write_verdicts(table or [], paper_values, description, rows, metrics, out)


@app.command(rich_help_panel=STEPS)
def describe(
    config: Annotated[str, typer.Option(help="The configuration: JSON.")],
    settings: Annotated[Path, typer.Option(help="The folder for what `invgrad show` prints of each cell.")],
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
) -> None:
    """Describe what a configuration runs: artefacts, cells, every setting and its source."""
    from invgrad.cli.parsing import json_object
    from invgrad.steps.describe import write_description

    write_description(json_object(config, "--config"), settings, out)


@app.command(rich_help_panel=STEPS)
def notebook(
    source: Annotated[Path, File],
    out: Out,
    log: Annotated[Path, typer.Option(help="Where to write the notebook while it runs.")],
    parameters: Annotated[str, typer.Option(help="Parameters of the notebook: JSON.")] = "{}",
    reads: Annotated[list[Path] | None, typer.Option(exists=True, help="Files that it reads, for the record.")] = None,
    writes: Annotated[list[Path] | None, typer.Option(help="Files that it writes, for the record.")] = None,
) -> None:
    """Execute a notebook that draws a table or figure."""
    from invgrad.cli.parsing import json_object
    from invgrad.steps.notebook import execute

    execute(source, json_object(parameters, "--parameters"), out, log, reads or (), writes or ())


@app.command(hidden=True)
def kernel(connection: Annotated[Path, File]) -> None:
    """Run the kernel of a notebook, as `invgrad notebook` asks for it."""
    from invgrad.steps.notebook import run_kernel

    run_kernel(connection)


@app.command(rich_help_panel=STEPS)
def report(
    description: Annotated[Path, File],
    paper_values: Annotated[Path, File],
    details: Annotated[Path, typer.Option(exists=True, help="The details that the paper leaves open: YAML.")],
    results: Annotated[Path, typer.Option(exists=True, file_okay=False, help="The folder of the scale's results.")],
    figures: Annotated[Path, typer.Option(exists=True, file_okay=False, help="The folder of the scale's figures.")],
    index: Annotated[Path, typer.Option(help="Where to write the same as Markdown, beside --out.")],
    out: Out,
) -> None:
    """Gather every table and figure with its verdicts into one page."""
    from invgrad.steps.report import write_report

    write_report(description, paper_values, details, results, figures, out, index)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("invgrad-demo.png"),
) -> None:
    """Attack the gradient of one photograph, in half a minute, and write a picture of what the server finds."""
    from invgrad.steps.demo import show_attack

    show_attack(out)


@app.command()
def reconstruct(
    image: Annotated[
        list[Path],
        typer.Option(exists=True, dir_okay=False, help="An image file that the client holds; repeat it for several."),
    ],
    out: Annotated[Path, typer.Option(help="The folder for images, tables and the record.")],
    network: OwnNetwork = None,
    checkpoint: OwnCheckpoint = None,
    dataset: Annotated[
        str | None, typer.Option(help="The network's data set: cifar10 (default), cifar100 or imagenet.")
    ] = None,
    classes: OwnClasses = None,
    size: OwnSize = None,
    channels: OwnChannels = None,
    mean: OwnMean = "",
    std: OwnStd = "",
    label: Annotated[
        list[int] | None, typer.Option(help="Class of each image, from 0; default: what the network predicts.")
    ] = None,
    unknown_labels: Annotated[bool, typer.Option("--unknown-labels", help="Hide the labels from the attack.")] = False,
    shares: Shares = "gradient",
    attack: AttackChanges = "{}",
    change: AttackChange = None,
    seed: OwnSeed = 0,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Attack a client that holds your images; docs/options.md explains every option."""
    from invgrad.cli.parsing import short_form
    from invgrad.settings import parse
    from invgrad.steps.settings import ImageAttack

    content = {
        **_on_network(network, dataset, classes, size, channels, mean, std, attack, change, seed),
        "labels": label or (),
        "labels_known": not unknown_labels,
        "shares": short_form(shares, "kind", "--shares"),
    }
    step = parse(ImageAttack, content, "reconstruct")
    from invgrad.steps.reconstruct import attack_images  # imports torch, after the mistakes that need none

    attack_images(step, image, checkpoint, out, _start(device, threads))


@app.command()
def attack_gradient(
    gradient: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The gradient: " + ARRAYS)],
    out: Annotated[Path, typer.Option(help="The folder for the reconstruction and its record.")],
    network: OwnNetwork = None,
    checkpoint: OwnCheckpoint = None,
    dataset: Annotated[str | None, typer.Option(help="The network's data set: cifar10, cifar100 or imagenet.")] = None,
    classes: OwnClasses = None,
    size: OwnSize = None,
    channels: OwnChannels = None,
    mean: OwnMean = "",
    std: OwnStd = "",
    labels: Annotated[
        str, typer.Option(help="Class of each image, from 0: 3,5; default: inferred from the gradient.")
    ] = "",
    images: Annotated[int | None, typer.Option(min=1, help="How many they are, where no --labels tell.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="If the file holds the change of the parameters by training: its rate.")
    ] = None,
    attack: AttackChanges = "{}",
    change: AttackChange = None,
    seed: OwnSeed = 0,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Attack a gradient that a client shared, of a network of yours; docs/options.md explains every option."""
    from invgrad.cli.parsing import numbers
    from invgrad.settings import parse
    from invgrad.steps.settings import GradientAttack

    content = {
        **_on_network(network, dataset, classes, size, channels, mean, std, attack, change, seed),
        "labels": numbers(labels, "--labels"),
        "images": images,
        "learning_rate": learning_rate,
    }
    step = parse(GradientAttack, content, "attack-gradient")
    from invgrad.steps.attack_gradient import attack_gradient as run  # imports torch, as above

    run(step, gradient, checkpoint, out, _start(device, threads))


@app.command()
def audit(
    out: Annotated[Path, typer.Option(help="The folder for the page, its JSON and the record.")],
    network: OwnNetwork = None,
    checkpoint: OwnCheckpoint = None,
    dataset: Annotated[
        str | None, typer.Option(help="The network's data set: cifar10 (default), cifar100 or imagenet.")
    ] = None,
    classes: OwnClasses = None,
    size: OwnSize = None,
    channels: OwnChannels = None,
    mean: OwnMean = "",
    std: OwnStd = "",
    images: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A folder of images; default: the data set's own."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="The folder of your data sets; default: packages' images."),
    ] = None,
    split: Annotated[str, typer.Option(help="train or validation, of the data set.")] = "validation",
    clients: Annotated[int, typer.Option(help="How many clients are attacked; each holds other images.")] = 20,
    images_per_client: Annotated[int, typer.Option(help="How many images each holds.")] = 1,
    unknown_labels: Annotated[bool, typer.Option("--unknown-labels", help="Hide the labels from the attack.")] = False,
    shares: Shares = "gradient",
    fail_if_recovered: Annotated[
        str | None, typer.Option(help="5%: exit with code 1 unless the upper end of the 95 % interval lies below.")
    ] = None,
    attack: AttackChanges = "{}",
    change: AttackChange = None,
    seed: OwnSeed = 0,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Attack a sample of clients, and say on one page what their gradients give away."""
    from invgrad.cli.parsing import share, short_form
    from invgrad.settings import parse
    from invgrad.steps.settings import AuditStep

    content = {
        **_on_network(network, dataset, classes, size, channels, mean, std, attack, change, seed),
        "clients": clients,
        "images_per_client": images_per_client,
        "labels_known": not unknown_labels,
        "shares": short_form(shares, "kind", "--shares"),
        "split": split,
        "fail_if_recovered": fail_if_recovered and share(fail_if_recovered, "--fail-if-recovered"),
    }
    step = parse(AuditStep, content, "audit")
    from invgrad.steps.audit import audit as run  # imports torch, as above

    if not run(step, checkpoint, images, root, out, _start(device, threads)):
        raise typer.Exit(1)


def _on_network(
    network: str | None,
    dataset: str | None,
    classes: int | None,
    size: int | None,
    channels: int | None,
    mean: str,
    std: str,
    attack: str,
    change: list[str] | None,
    seed: int,
) -> dict[str, Any]:
    """Settings of an attack on a network of the user's choice."""
    from invgrad.attack.settings import Attack
    from invgrad.cli.parsing import nested, network_form, numbers, settings
    from invgrad.settings import merged

    changes = merged(settings(attack, "--attack"), nested(change or []))
    return {
        "network": network and network_form(network, "--network"),
        "dataset": dataset,
        "classes": classes,
        "size": size,
        "channels": channels,
        "mean": numbers(mean, "--mean"),
        "std": numbers(std, "--std"),
        "attack": merged(Attack().model_dump(mode="json"), changes),
        "seed": seed,
    }


@app.command()
def check_values(
    looked_up: Annotated[Path, typer.Argument(help="CSV with the columns cell, measure, value, std.")],
    paper_values: Annotated[Path, File] = Path("data/paper_values.csv"),
) -> None:
    """Take values that you looked up in the paper; docs/paper-values.md lists those to look up, and where."""
    from invgrad.paper.values import corrected
    from invgrad.results.files import write

    text, said = corrected(paper_values, looked_up)
    write(paper_values, lambda partial: partial.write_text(text, encoding="utf-8"))
    for line in said:
        print(line)


@app.command()
def bench(
    network: Annotated[list[str] | None, typer.Option(help="Only networks whose name contains this.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of timings of each; the median is shown.")] = 7,
    other: Annotated[
        Path | None, typer.Option(help="A Python file whose `prepare` is another implementation, timed as well.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the table as JSON.")] = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Time an attack step beside the released algorithm, alternately in one run."""
    from invgrad.performance.cases import named

    cases = named(network or ())
    from invgrad.performance.bench import time_cases  # imports torch, as above

    time_cases(cases, rounds, _start(device, threads), other, out)


@app.command()
def pack(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    setting: Annotated[list[str] | None, typer.Argument(help="Like `snakemake --config`: scale=small …")] = None,
) -> None:
    """Copy what is there of what tables and pictures are made from to a folder that is small enough for git."""
    from invgrad.experiments.plan import Plan
    from invgrad.steps.exchange import pack as run

    for line in run(Plan(_project(setting)), out):
        print(line)


@app.command()
def bring_in(
    folder: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="What `invgrad pack` wrote, or another clone's results."),
    ],
    setting: Annotated[list[str] | None, typer.Argument(help="Like `snakemake --config`: scale=small …")] = None,
    accept_code: Annotated[
        list[str] | None, typer.Option(help="Take results of this commit, whose code is another; give several so.")
    ] = None,
) -> None:
    """Take results that were computed elsewhere, where they agree with the plan."""
    from invgrad.experiments.plan import Plan
    from invgrad.steps.exchange import bring_in as run

    for line in run(Plan(_project(setting)), folder, accept_code or ()):
        print(line)


@app.command()
def env() -> None:
    """Print what a bug report needs: machine, GPUs, versions."""
    from invgrad.runtime.environment import environment

    facts = environment()
    width = max(map(len, facts)) + 1
    for name, fact in facts.items():
        print(f"{name + ':':<{width}} {fact}")


@app.command()
def schema() -> None:
    """Print the JSON schema of the configuration files."""
    from invgrad.experiments.config import schema as make

    print(json.dumps(make(), indent=1))


@app.command()
def check(
    setting: Annotated[list[str] | None, typer.Argument(help="Like `snakemake --config`: scale=small …")] = None,
) -> None:
    """Check the configuration without running anything."""
    project = _project(setting)
    print(f"{project.config.scale}: {len(project.experiments.cells)} cells, configuration is valid")


@app.command()
def show(
    cell: Annotated[str, typer.Argument(help="The name of a cell.")],
    setting: Annotated[list[str] | None, typer.Argument(help="Like `snakemake --config`: device=cpu …")] = None,
    scale: Annotated[str | None, typer.Option(help="demo, small, paper, or your own.")] = None,
) -> None:
    """Print every setting of a cell: its value, its source, and its change by a scale or an override."""
    from invgrad.experiments.cell_settings import cell_settings
    from invgrad.experiments.plan import Plan

    print(cell_settings(Plan(_project([*(setting or []), *([f"scale={scale}"] if scale else [])])), cell))


@app.command()
def plan(
    setting: Annotated[list[str] | None, typer.Argument(help="Like `snakemake --config`: artefacts=[table1] …")] = None,
    scale: Annotated[str | None, typer.Option(help="demo, small, paper, or your own.")] = None,
    bench: Annotated[
        Path | None, typer.Option(help="What `invgrad bench --out` wrote; default: a CPU's, in the package.")
    ] = None,
    gpu_bench: Annotated[Path | None, typer.Option(help="The same of a GPU.")] = None,
    cores: Annotated[int, typer.Option(min=1, help="Say how long it takes on so many cores …")] = os.cpu_count() or 1,
    gpus: Annotated[int, typer.Option(min=1, help="… or on so many GPUs.")] = 1,
) -> None:
    """Estimate the cost of a scale before it runs: jobs, gradients, hours and disk."""
    from invgrad.experiments.plan import Plan
    from invgrad.performance.cost import BENCH, GPU_BENCH, Speed
    from invgrad.performance.estimate import costs, report, wall_time

    chosen = Plan(_project([*(setting or []), *([f"scale={scale}"] if scale else [])]))
    speed, gpu = Speed.read(bench or BENCH), Speed.read(gpu_bench or GPU_BENCH)
    print(report(costs(chosen, speed, gpu), speed, gpu))
    print(f"\nIt takes about {wall_time(chosen, speed, cores)}, or {wall_time(chosen, gpu, gpus)}.")


def main() -> NoReturn:
    """Run the command line; an error that the user can mend is one line on stderr and exit code 2."""
    # Read when torch is imported. By default its threads wait for each other by spinning: where another process shares
    # the cores, a step of ResNet-18 took 0.9 s instead of 0.07 s (two threads, two cores).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not sys.flags.safe_path:
        sys.path.append("")  # the current folder, for networks of the user's own; last, so that it hides no module
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # of a terminal that cannot show every character
    try:
        app(prog_name="invgrad")
    except Exception as error:
        sys.exit(_told(error))
    sys.exit(0)


def _told(error: Exception) -> int:
    """Say in one line what the user can mend, and return the exit code; raise any other error again."""
    from invgrad.settings import SettingsError

    match error:
        case SettingsError():
            print(f"error: {error}", file=sys.stderr)
            return 2
        case ImportError():
            missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__  # pandas's, or why it is one
            if not isinstance(missing, ModuleNotFoundError) or str(missing.name).startswith("invgrad"):
                raise error
            remedy = "`pip install 'invgrad[pipeline]'` installs all that any command needs"
            print(f"error: {missing}; {remedy}", file=sys.stderr)
            return 2
        case Interrupted():
            with suppress(BrokenPipeError):  # who reads it may have been stopped too
                print(error, file=sys.stderr)
            return error.exit_code
        case OSError():  # a full disk, a read-only folder
            print(f"error: {error}", file=sys.stderr)
            return 1
    raise error


def _project(changes: list[str] | None):  # type: ignore[no-untyped-def]
    """Load the configuration, changed by `key=value` arguments."""
    from invgrad.cli.parsing import assignment, settings
    from invgrad.experiments.config import CONFIG, load
    from invgrad.settings import SettingsError, once

    if not CONFIG.exists():
        raise SettingsError(f"{CONFIG}: not in {Path.cwd()}; the pipeline is planned in a clone of its repository")
    return load(settings(str(CONFIG), "config") | once(map(assignment, changes or [])))


def _one_of_each_a_shard(**given: list[Any]) -> None:
    from invgrad.settings import SettingsError

    if len({len(values) for values in given.values()}) > 1:
        counts = ", ".join(f"{len(values)} --{name}" for name, values in given.items())
        raise SettingsError(f"{counts}: each shard needs one of each")


def _start(device: str, threads: int):  # type: ignore[no-untyped-def]
    import torch

    from invgrad.runtime.devices import choose, keep_freed_memory

    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    return choose(device)


def _step(model: Any, text: str, option: str = "--settings") -> Any:
    from invgrad.cli.parsing import settings
    from invgrad.settings import parse

    return parse(model, settings(text, option), option if text.lstrip().startswith("{") else text)
