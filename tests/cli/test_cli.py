"""Every command explains itself, and what the user can mend is one line."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from invgrad import __version__
from invgrad.cli.main import main

PACKAGED = ["data", "--dataset", "cifar10", "--split", "validation", "--source", "packaged"]
ATTACK = ["attack", "--settings", '{"attack": {}, "seed_key": "k"}', "--victim", "README.md"]
ATTACK += ["--shared", "README.md", "--out", "x", "--device"]
ACTIVATIONS = ["activations", "--cell", "c", "--seed", "0", "--out", "x"]
ACTIVATIONS += [word for part in ("victim", "reconstruction", "truth") for word in (f"--{part}", "README.md")]
FOR_PEOPLE = ["demo", "reconstruct", "bench", "env", "schema", "check", "show", "plan"]
STEPS = ["data", "train", "share", "attack", "measure", "activations", "describe", "verdict", "notebook", "report"]
COMMANDS = [*FOR_PEOPLE, *STEPS]
ROOT = Path(__file__).parents[2]


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Invgrad = Callable[..., Result]


@pytest.fixture
def invgrad(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invgrad:
    """The command line, in this process."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["invgrad", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Result(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_the_package_is_a_program() -> None:
    command = [sys.executable, "-m", "invgrad", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Usage: invgrad" in said
    assert all(command in said for command in COMMANDS)


WITHOUT_TORCH = """
import sys
from contextlib import suppress
from invgrad.cli.main import main

sys.modules["torch"] = None
for arguments in sys.argv[1:]:
    sys.argv = ["invgrad", *arguments.split()]
    with suppress(SystemExit):
        main()
"""


def test_mistakes_in_settings_are_told_before_torch_is_imported() -> None:
    out = "--network lenet-zhu --out nowhere"
    commands = [
        f"reconstruct --image README.md {out} --set iteration=3",
        f"attack-gradient --gradient README.md {out} --labels 1,-2",
        f"audit {out} --clients 0",
        "bench --network VGG",
    ]
    command = [sys.executable, "-c", WITHOUT_TORCH, *commands]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stderr.splitlines()
    words = ["unknown key 'iteration'; nearest: 'iterations'", "labels", "clients: 0", "VGG"]
    assert len(said) == len(words)
    assert all(word in line for word, line in zip(words, said, strict=True)), said


def test_help_has_the_commands_for_people_before_the_steps_of_the_pipeline(invgrad: Invgrad) -> None:
    people, steps = invgrad("--help").stdout.split("Steps of the pipeline")
    assert all(re.search(rf"^│ {command} ", people, re.MULTILINE) for command in FOR_PEOPLE)
    assert all(re.search(rf"^│ {command} ", steps, re.MULTILINE) for command in STEPS)


def test_version(invgrad: Invgrad) -> None:
    result = invgrad("--version")
    assert (result.returncode, result.stdout) == (0, f"invgrad {__version__}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, invgrad: Invgrad) -> None:
    result = invgrad(command, "--help")
    assert result.returncode == 0
    assert "Usage: invgrad" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "scale=nonsense"], "unknown scale 'nonsense'"),
        (["check", "demo"], "must be key=value"),
        (["check", "override={"], "not valid YAML"),
        (["data", "--dataset", "cifar", "--split", "train", "--source", "packaged", "--out", "x"], "'cifar'"),
        ([*PACKAGED, "--root", "somewhere", "--out", "x"], "leave it out"),
        (["train", "--settings", "{", "--validation", "README.md", "--out", "x"], "not valid JSON"),
        (["train", "--settings", "{}", "--validation", "README.md", "--out", "x"], "network"),
        ([*ACTIVATIONS, "--custom", '{"factory"'], "--custom: not valid JSON"),
        ([*ATTACK, "cpu"], "README.md: not a result file"),
        ([*ATTACK, "gpu"], "unknown device 'gpu'"),
        (["reconstruct", "--image", "README.md", "--network", "vgg", "--out", "x"], "unknown name 'vgg'"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], words: str, tmp_path: Path, invgrad: Invgrad) -> None:
    arguments = [str(tmp_path / "x") if argument == "x" else argument for argument in arguments]
    result = invgrad(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_plan_says_what_the_chosen_artefacts_cost(invgrad: Invgrad) -> None:
    result = invgrad("plan", "--scale", "paper", "artefacts=[table1, fig6]", "--cores", "64", "--gpus", "4")
    assert result.returncode == 0, result.stderr
    assert "| table1" in result.stdout
    assert "| fig6" in result.stdout
    assert "| fig5" not in result.stdout
    assert "by the packaged bench-gpu.json" in result.stdout
    assert re.search(r"It takes about [\d,.]+ h on 64 cores, or [\d,.]+ h on 4 GPUs\.$", result.stdout.rstrip())


@pytest.mark.parametrize("scale", ["demo", "small", "paper"])
def test_plan_fits_a_terminal(scale: str, invgrad: Invgrad) -> None:
    assert max(map(len, invgrad("plan", "--scale", scale).stdout.splitlines())) <= 100


def test_plan_names_a_wrong_scale(invgrad: Invgrad) -> None:
    result = invgrad("plan", "--scale", "papr")
    assert result.returncode == 2
    assert "unknown scale 'papr'; nearest: 'paper'" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_does_not_end_the_command() -> None:
    command = [sys.executable, "-m", "invgrad", "--log", "/dev/full", "env"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second, third, *_ = result.stderr.splitlines()
    assert first.startswith("/dev/full: the log ends here: ")
    assert second.startswith("invgrad:")
    assert third.startswith("python:")
    assert (result.stdout + result.stderr).count("/dev/full") == 1


def test_a_log_holds_what_both_streams_would_show(tmp_path: Path) -> None:
    log = tmp_path / "new/x.log"
    command = [sys.executable, "-m", "invgrad", "--log", str(log), "check", "scale=nope"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 2
    assert result.stdout + result.stderr == ""
    assert log.read_text().startswith("error: ")


def test_a_log_holds_what_other_processes_write(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    code = f"import os; from pathlib import Path; from invgrad.cli.log import write_to; write_to(Path({str(log)!r}))"
    code += "; print('one'); os.system('echo two; echo three >&2'); print('four')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout + result.stderr == ""
    assert log.read_text().split() == ["one", "two", "three", "four"]


def test_looked_up_values_are_written_whole_or_not_at_all(
    invgrad: Invgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, looked_up = tmp_path / "values.csv", tmp_path / "looked-up.csv"
    before = (ROOT / "data/paper_values.csv").read_text()
    values.write_text(before)
    command = ["check-values", str(looked_up), "--paper-values", str(values)]
    header, right = "cell,measure,value,std\n", "fedavg-e1-n8-b8,psnr_mean,16.5,1.02\n"

    looked_up.write_text(f"{header}{right}fedavg-e1-n8-b8,psnr_mean,many,1.02\n")
    assert invgrad(*command).returncode == 2
    looked_up.write_text(header + right)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", _fail)
        assert "No space left" in invgrad(*command).stderr
    assert (values.read_text(), sorted(tmp_path.iterdir())) == (before, [looked_up, values])

    assert invgrad(*command) == Result(0, "fedavg-e1-n8-b8,psnr_mean: 16.49 ± 1.02 is now 16.5 ± 1.02\n", "")
    changed = [line for line in values.read_text().splitlines() if line not in before.splitlines()]
    assert changed == ["table2,fedavg-e1-n8-b8,psnr_mean,16.5,1.02,100,dB,Table 2,true,checked against the PDF"]


def _fail(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
