"""What a run shows on the console: little, but all that matters."""

import os
import pty
import re
from logging import INFO, makeLogRecord
from pathlib import Path
from types import SimpleNamespace

import pytest
from projects import ROOT, run
from snakemake_interface_logger_plugins.common import LogEvent
from test_faults import mounted

from snakemake_logger_plugin_invgrad import LogHandler, _group_failure
from snakemake_logger_plugin_invgrad.run import ALMOST, Run

SNAKEFILE = """
from snakemake.logging import logger

VERDICTS = ["differs", "not comparable", "not comparable", "reproduced"]
LINES = "\\n".join(["verdict", *VERDICTS])

rule all:
    input: "figures/report.html"

onstart:
    logger.info("Expected.", extra={"event": "expected", "seconds": {}, "at_once": 2})

rule slow_short:
    output: "{cell}.txt"
    log: "{cell}.log"
    shell: "sleep 0.2; (seq 100; echo why) > {log}; test {wildcards.cell} != bad; touch {output}"

rule report:
    input: "a.txt", config.get("other", "b.txt")
    output: update("figures/report.html"), update("figures/verdicts.csv")
    shell: "touch {output[0]}; echo '{LINES}' > {output[1]}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small workflow with the project's profile."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "profiles").symlink_to(ROOT / "workflow/profiles")
    return tmp_path


def said(folder: Path, *options: str, code: int = 0) -> str:
    """What Snakemake says on stderr."""
    result = run(folder, "snakemake", "--cores", "2", *options)
    assert result.returncode == code, result.stderr
    return result.stderr


def test_a_run_says_little_and_in_the_end_what_was_made(folder: Path) -> None:
    profile, *progress, done, where = said(folder).splitlines()
    assert "profile" in profile
    assert all(
        re.fullmatch(r" *\d+%, about [\d.]+ (s|min) left, \d of 4 jobs done(; now .+)?", line) for line in progress
    )
    assert re.search("; now slow [ab]", progress[0]), "which of two begins is for Snakemake to choose"
    assert re.fullmatch(r"Done: 4 jobs in \d+ s; verdicts: 1 differs, 1 reproduced, 2 not comparable", done)
    assert where == "Open figures/report.html"
    (log,) = folder.glob(".snakemake/log/*.log")
    assert "rule slow_short:" in log.read_text(), "Snakemake's own log is as ever"
    assert "Nothing to be done" in said(folder)


def test_a_failed_job_is_told_with_the_end_of_its_log(folder: Path) -> None:
    lines = said(folder, "--keep-going", "--config", "other=bad.txt", code=1).splitlines()
    first = lines.index("Failed: slow_short, for bad.txt")
    assert lines[first + 1 : first + 22] == ["Its log, bad.log, ends:", *map(str, range(82, 101)), "why"]
    assert "Its command returned non-zero exit status 1." in lines
    assert lines[-1].startswith("Not finished: 1 of 4 jobs done in ")
    assert lines[-1].endswith("The same command goes on from here.")


@pytest.mark.parametrize(
    ("text", "shown"), [("why\nerror: no space\n" + "then\n" * 30, ["error: no space"]), ("why\n", ["why"]), ("", [])]
)
def test_a_failed_group_is_told_with_the_errors_of_its_jobs(text: str, shown: list[str], tmp_path: Path) -> None:
    log = tmp_path / "2.log"
    log.write_text(text)
    about = {"groupid": "short", "aux_logs": [str(log), str(tmp_path / "none.log")]}
    says = "says:" if text else "is empty"
    assert list(_group_failure(about)) == ["Failed: group short", f"Its log, {log}, {says}", *shown]


def test_snakemakes_own_log_on_a_full_disk_leaves_the_console_as_it_is(folder: Path) -> None:
    disk = folder / ".snakemake/log"
    disk.mkdir(parents=True)
    with mounted(disk, "-t", "tmpfs", "-o", "size=4k", "tmpfs"):
        (disk / "full").write_bytes(bytes(4096))
        failed = said(folder, "--config", "other=bad.txt", code=1)
    assert "Failed: slow_short, for bad.txt" in failed
    assert "Traceback" not in failed


def test_who_asks_for_what_the_scale_leaves_out_is_told_how_to_have_it() -> None:
    result = run(ROOT, "snakemake", "--cores", "1", "--dry-run", "fig1")
    assert result.returncode == 1
    assert re.search("error: 'fig1' is left out: needs .* --config whole=true makes it", result.stderr)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--verbose", "rule slow_short:"),
        ("--printshellcmds", "sleep 0.2; (seq 100"),
        ("--dry-run", "Job stats:"),
        ("--quiet", ""),
    ],
)
def test_who_asks_for_more_or_less_gets_snakemakes_own_words(option: str, words: str, folder: Path) -> None:
    result = run(folder, "snakemake", "--cores", "2", option)
    assert result.returncode == 0
    assert words in result.stdout + result.stderr
    assert "jobs done" not in result.stdout + result.stderr


def test_in_a_terminal_one_line_is_rewritten(folder: Path) -> None:
    terminal, inner = pty.openpty()
    result = run(folder, "snakemake", "--cores", "2", capture_output=False, stdout=inner, stderr=inner)
    os.close(inner)
    shown = b""
    while chunk := _read(terminal):
        shown += chunk
    assert result.returncode == 0
    lines = shown.decode().split("\r\n")
    assert len(lines) < 8
    (rewritten,) = [line for line in lines if "jobs done" in line]
    assert rewritten.count("\r") > 4
    assert all(len(part.removesuffix("\033[K")) < 80 for part in rewritten.split("\r"))
    assert rewritten.split("\r")[-1].startswith("\033[KDone: 4 jobs")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end has been closed
        return b""


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("snakemake_logger_plugin_invgrad.run.time", clock)
    return clock


@pytest.mark.parametrize(("minutes", "most"), [(5, 35), (15, 60), (10_000, 200)])
def test_a_file_gets_few_lines_however_long_a_run_takes(
    minutes: int, most: int, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = dict.fromkeys(("verbose", "printshellcmds", "debug_dag", "dryrun", "quiet"), False)
    console = LogHandler(SimpleNamespace(**asked), None)
    job = {"jobid": 1, "rule_name": "a", "wildcards": {}, "output": []}
    for event in ({"event": LogEvent.RUN_INFO, "stats": {"total": 2}}, {"event": LogEvent.JOB_INFO, **job}):
        console.handle(makeLogRecord({"levelno": INFO, **event}))
    turns = 20_000
    for _ in range(turns):
        clock.now += minutes * 60 / turns
        console.handle(makeLogRecord({"levelno": INFO}))
    console.close()
    lines = capsys.readouterr().err.splitlines()
    assert most / 2 < len(lines) <= most
    assert lines[-1].startswith("Not finished: 0 of 2 jobs done in ")


def test_time_is_weighted_by_cost(clock: Clock) -> None:
    """Of 1000 expected seconds on two cores 100 have taken 200: as slow, the rest takes 1800."""
    work = Run(3)
    work.expect({1: 100, 2: 400, 3: 500}, at_once=2)
    work.begin(1, "attack_short", {"cell": "a", "seed": "0"}, [])
    assert work.line() == "  0%, about 8.3 min left, 0 of 3 jobs done; now attack a"
    clock.now += 200
    work.finish(1)
    trusted = 50  # 0.05 of all
    assert work.seconds_left() == pytest.approx(900 * (200 + trusted / 2) / (100 + trusted))
    assert work.line().startswith(" 10%, ")


def test_a_job_at_work_counts_by_the_time_it_has_had_at_the_pace_of_the_others(clock: Clock) -> None:
    work = Run(2)
    work.expect({1: 100, 2: 900}, at_once=1)
    work.begin(1, "one", {}, [])
    clock.now += 250  # of 100 expected, and 50 of 50 trusted: twice as slow
    work.finish(1)
    work.begin(2, "two", {}, [])
    clock.now += 200
    assert work.line().startswith(" 20%, ")
    clock.now += 1e6
    assert work.line().startswith(f" {(100 + ALMOST * 900) / 1000:.0%}, "), "it has not ended"


def test_without_expectations_jobs_count_alike(clock: Clock) -> None:
    work = Run(4)
    work.begin(1, "a", {}, [])
    clock.now += 10
    work.finish(1)
    assert work.line().startswith(" 25%, ")


def test_a_job_that_is_tried_again_counts_once(clock: Clock) -> None:
    work = Run(1)
    work.begin(1, "a", {}, [])
    work.fail(1)
    assert list(work.summary()) == ["Not finished: 0 of 1 jobs done in 0 s. The same command goes on from here."]
    work.begin(1, "a", {}, [])
    clock.now += 90
    work.finish(1)
    assert list(work.summary()) == ["Done: 1 jobs in 1.5 min"]
