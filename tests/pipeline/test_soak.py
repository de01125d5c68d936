"""A small project that thirty random events befall: after each, what it comes to is that of an undisturbed run.

The seed that the events are drawn from is printed with them (`pytest -s`); `SOAK_SEED=…` draws the same again. Outages
of a cluster are in test_outages.py.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import projects
import psutil
import pytest
from PIL import Image
from projects import choose, done, mini, run
from test_dvc import git
from test_faults import errors_of, mounted, started

from invgrad.results.provenance import has_record, record_path

pytestmark = [pytest.mark.night, pytest.mark.slow]
EVENTS_IN_ALL = 30
MOST_RUNS = 4
"""After an event, until one succeeds."""
ALL = ("snakemake", "--cores", "2", "all")
EVERYTHING = (*ALL, "datasets", "victims", "reconstructions", "metrics")
CELLS = ("lenet-untrained-proposed", "lenet-trained-proposed")
KINDS = ("data", "victims", "shared", "truth", "reconstructions", "metrics", "notebooks")
OTHER = {"cells": {"lenet-*": {"attack": {"total_variation": 10.0, "iterations": 200}}}}
TIMES = ["seconds_per_client"]
NOT_COMPARED = re.compile(r"commit[ =][0-9a-f]+(\+changes)?|[\d.]+ (s|minutes) on cpu: .*")
"""Commits and times in texts and PDF files."""
ROOM = 300_000
"""Kilobytes of the disk that the project is on."""


@dataclass
class Project:
    """The project, and where its events are drawn from."""

    folder: Path
    older: Path
    """A copy of what it once came to with other settings."""
    draw: random.Random
    said: Counter[str] = field(default_factory=Counter)
    """Reasons that runs gave for not succeeding."""

    def results(self) -> list[Path]:
        """Every file with a record beside it."""
        found = [path for root in ("results", "figures") for path in (self.folder / root / "mini").rglob("*.*")]
        return sorted(path for path in found if "damaged" not in path.parts and has_record(path))

    def files(self) -> list[Path]:
        """Every file of results and figures, records among them, but no log."""
        found = [path for root in ("results", "figures") for path in (self.folder / root / "mini").rglob("*")]
        return sorted(
            path for path in found if path.is_file() and not {"logs", "damaged", "unfinished"} & {*path.parts}
        )

    def any_result(self) -> Path:
        return self.draw.choice(self.results())

    def two_of_a_kind(self) -> list[Path]:
        """Two results of one step: of another shard, cell, victim …"""
        kinds: dict[tuple[str, ...], list[Path]] = {}
        for path in self.results():
            kinds.setdefault((*path.relative_to(self.folder).parts[:3], path.suffix), []).append(path)
        return self.draw.sample(self.draw.choice([alike for alike in kinds.values() if len(alike) > 1]), 2)

    def lose_part(self) -> None:
        """Remove the results of some steps."""
        for name in self.draw.sample(KINDS, self.draw.randint(1, len(KINDS))):
            shutil.rmtree(self.folder / "results/mini" / name, ignore_errors=True)
        if self.draw.random() < 0.5:
            shutil.rmtree(self.folder / "figures/mini", ignore_errors=True)

    def lose_rows(self) -> None:
        """Remove what every run makes again, with figures and verdicts."""
        shutil.rmtree(self.folder / "results/mini/metrics", ignore_errors=True)

    @contextmanager
    def at_work(self) -> Iterator[subprocess.Popen[str]]:
        """A run at a random moment, which has something to do; it is left to end."""
        self.lose_rows()
        at_work = started(self.folder, *ALL)
        while at_work.poll() is None and not list(self.folder.glob(".snakemake/locks/*")):
            time.sleep(0.05)  # Python and Snakemake are just starting
        with suppress(subprocess.TimeoutExpired):
            at_work.wait(self.draw.uniform(0, 12))
        yield at_work
        said, _ = at_work.communicate()
        if at_work.returncode:
            self.note(said)

    def interrupted_run(self) -> None:
        """Run until a random moment."""
        with self.at_work() as at_work, suppress(ProcessLookupError):
            os.killpg(at_work.pid, signal.SIGINT)

    def note(self, said: str) -> None:
        """Remember why a run did not succeed, in a line of its own words."""
        assert "Traceback" not in said, said
        reasons = [
            line
            for line in said.splitlines()
            if re.search(r"^\s*error: |stopped by|No space left|^Its command|^Failed: |missing locally", line)
        ]
        self.said[reasons[0].strip() if reasons else "killed before it said why"] += 1


# Events for a run.


def everything_killed(project: Project) -> None:
    """Snakemake and its whole group; its jobs end as well."""
    with project.at_work() as at_work, suppress(ProcessLookupError):
        os.killpg(at_work.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while left := [each.pid for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(project.folder)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    done(run(project.folder, "snakemake", "--unlock"))


def a_process_killed(project: Project) -> None:
    """A job, its shell or the warm process."""
    with project.at_work() as at_work, suppress(psutil.NoSuchProcess, IndexError):
        project.draw.choice(psutil.Process(at_work.pid).children(recursive=True)).kill()


def ctrl_c(project: Project) -> None:
    project.interrupted_run()


def disk_full(project: Project) -> None:
    used = shutil.disk_usage(project.folder).used // 1024
    project.lose_part()
    project.lose_rows()
    freed = shutil.disk_usage(project.folder).used // 1024
    resize(project.folder, round(project.draw.uniform(freed, used)) + 40)
    said = run(project.folder, *ALL)
    resize(project.folder, ROOM)
    if said.returncode:
        project.note(said.stdout + said.stderr)


# Changes of settings, which are taken back; some runs end in between.


@contextmanager
def rewritten(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    """A file with another text for a while, and as old as before."""
    text, status = path.read_text(), path.stat()
    path.write_text(change(text))
    assert path.read_text() != text
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    yield
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def override(project: Project) -> None:
    choose(project.folder, override=OTHER)
    project.interrupted_run()
    choose(project.folder, override={})


def scale_file(project: Project) -> None:
    with rewritten(project.folder / "config/scales/mini.yaml", lambda text: text.replace(": 300", ": 100")):
        project.interrupted_run()


def printed_value(project: Project) -> None:
    printed = r"(lenet-untrained-proposed,psnr_mean),[\d.]+"
    with rewritten(project.folder / "data/paper_values.csv", lambda text: re.sub(printed, r"\1,9.00", text)):
        project.interrupted_run()


def notebook(project: Project) -> None:
    name = project.draw.choice(["table1", "fig2"])
    with rewritten(project.folder / f"notebooks/{name}.py", lambda text: f"{text}\nprint('changed')\n"):
        project.interrupted_run()


def branch(project: Project) -> None:
    """One of other settings, with its figures, and back."""
    git(project.folder, "checkout", "--quiet", "--force", "other")
    project.interrupted_run()
    git(project.folder, "checkout", "--quiet", "--force", "main")


# Changes of files, between runs or while one goes on.


def bit_flipped(project: Project) -> None:
    file = project.draw.choice(project.files())
    content, status = bytearray(file.read_bytes()), file.stat()
    if content:
        content[project.draw.randrange(len(content))] ^= 1 << project.draw.randrange(8)
    file.write_bytes(content)
    if project.draw.random() < 0.5:
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut(project: Project) -> None:
    file = project.draw.choice(project.files())
    os.truncate(file, project.draw.randrange(file.stat().st_size + 1))


def swapped(project: Project) -> None:
    """Two results of one kind, with their records."""
    one, other = project.two_of_a_kind()
    exchange(one, other)
    exchange(record_path(one), record_path(other))


def records_swapped(project: Project) -> None:
    exchange(*map(record_path, project.two_of_a_kind()))


def record_removed(project: Project) -> None:
    record_path(project.any_result()).unlink()


def older_put_back(project: Project) -> None:
    """A result of other settings with its record, or all of its kind: `cp -p`."""
    path = project.any_result().relative_to(project.folder)
    if project.draw.random() < 0.5:
        for each in (path, record_path(path)):
            shutil.copy2(project.older / each, project.folder / each)
    else:
        part = Path(*path.parts[:3]) if path.parts[0] == "results" else path.parent
        if (project.older / part).is_dir():
            shutil.copytree(project.older / part, project.folder / part, dirs_exist_ok=True)


def times_shuffled(project: Project) -> None:
    for path in project.folder.rglob("*"):
        if ".git" not in path.parts:
            moment = time.time() - project.draw.uniform(-1e5, 1e7)
            with suppress(FileNotFoundError):
                os.utime(path, (moment, moment))


def bookkeeping_removed(project: Project) -> None:
    shutil.rmtree(project.folder / ".snakemake", ignore_errors=True)


def part_removed(project: Project) -> None:
    project.lose_part()


RUNS = [everything_killed, a_process_killed, ctrl_c, disk_full]
SETTINGS = [override, scale_file, printed_value, notebook, branch]
FILES = [bit_flipped, cut, swapped, records_swapped, record_removed, older_put_back]
FILES += [times_shuffled, bookkeeping_removed, part_removed]


def exchange(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def resize(folder: Path, kilobytes: int) -> None:
    done(run(folder, "mount", "-o", f"remount,size={kilobytes}k", str(folder)))


def befall(event: Callable[[Project], None], project: Project) -> str:
    """Let it happen, and return when it did."""
    if event not in FILES:
        if project.draw.random() < 0.5:
            project.lose_part()
        event(project)
        return "run"
    if project.draw.random() < 0.5:
        event(project)
        return "between runs"
    with project.at_work(), suppress(FileNotFoundError, IndexError):  # while the run has removed it, or all
        event(project)
    return "during a run"


def outcome(folder: Path) -> dict[str, Any]:
    """What the project came to, without times: of each file of tensors, table or picture of it that is there."""
    found: dict[str, Any] = {}
    for path in sorted([*(folder / "results/mini").rglob("*"), *(folder / "figures/mini").rglob("*")]):
        name = str(path.relative_to(folder))
        if {"logs", "damaged", "unfinished"} & {*path.parts} or path.name.startswith("."):
            continue
        if path.suffix == ".safetensors":
            found[name] = path.read_bytes()
        elif path.name == "rows.csv" or ("metrics" in path.parts and path.suffix == ".csv"):
            found[name] = pd.read_csv(path).drop(columns=TIMES).to_csv()
        elif path.suffix == ".png":
            with Image.open(BytesIO(path.read_bytes())) as picture:
                found[name] = (picture.size, picture.mode, picture.tobytes())
        elif path.suffix in {".csv", ".md", ".tex", ".pdf"} or path.name == "metrics.json":
            found[name] = NOT_COMPARED.sub("", path.read_text("latin-1"))
    return found


def recovered(project: Project, command: tuple[str, ...]) -> list[subprocess.CompletedProcess[str]]:
    """Runs until one succeeds."""
    runs = [run(project.folder, *command)]
    while runs[-1].returncode:
        said = runs[-1].stdout + runs[-1].stderr
        project.note(said)
        assert errors_of(runs[-1]), said
        assert len(runs) < MOST_RUNS, said
        runs.append(run(project.folder, *command))
    return runs


@pytest.fixture
def undisturbed(tmp_path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A repository on a disk of its own with two branches, main and one of other settings, both run; with what main
    comes to. What the other came to lies in the folder `older` beside it.
    """
    folder = tmp_path / "project"
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", f"size={ROOM}k", "tmpfs"):
        projects.project(folder, "mini", mini(*CELLS, shards=2, iterations=300), artefacts=["table1", "fig2"])
        git(folder, "init", "--quiet", "--initial-branch", "other")
        choose(folder, override=OTHER)
        done(run(folder, *EVERYTHING))
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "other settings")
        for part in ("results", "figures"):
            shutil.copytree(folder / part, tmp_path / "older" / part)
        git(folder, "checkout", "--quiet", "-b", "main")
        choose(folder, override={})
        shutil.rmtree(folder / "results")
        done(run(folder, *EVERYTHING))
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "settings of the test")
        yield folder, outcome(folder)


def survive(event: Callable[[Project], None], project: Project, wanted: dict[str, Any]) -> str:
    """Let an event happen and run until all is as wanted, and another run has nothing to do; returns what it took."""
    when = befall(event, project)
    runs = recovered(project, project.draw.choice([ALL, EVERYTHING]))
    said = runs[-1].stdout + runs[-1].stderr
    found = outcome(project.folder)
    assert not {name for name in found if found[name] != wanted.get(name)}, said
    assert not {name for name in wanted.keys() - found.keys() if name.startswith("figures")}, said
    again = done(run(project.folder, *ALL))
    assert "Nothing to be done" in again, again
    ended = "nothing to do" if "Nothing to be done" in said else "made anew"
    return f"{when:13} {ended} in run {len(runs)}"


def test_after_thirty_events_the_results_are_those_of_an_undisturbed_run(
    undisturbed: tuple[Path, dict[str, Any]],
) -> None:
    folder, wanted = undisturbed
    seed = int(os.environ.get("SOAK_SEED") or random.randrange(10**6))
    print(f"\nSOAK_SEED={seed}")
    project = Project(folder, folder.parent / "older", random.Random(seed))
    events = [*RUNS, *SETTINGS, *FILES]
    events += project.draw.choices(events, k=EVENTS_IN_ALL - len(events))
    project.draw.shuffle(events)
    outcomes: Counter[str] = Counter()
    for number, event in enumerate(events, 1):
        began = time.monotonic()
        took = f"{event.__name__:20} {survive(event, project, wanted)}"
        print(f"{number:2} {took} ({time.monotonic() - began:.0f} s)", flush=True)
        outcomes[took] += 1
    done(run(folder, *EVERYTHING))
    assert outcome(folder) == wanted
    print(f"\n{EVENTS_IN_ALL} events of seed {seed}:")
    print(*(f"{count:3} {each}" for each, count in sorted(outcomes.items())), sep="\n")
    print("Why runs did not succeed:", *(f"{count:3} {line}" for line, count in project.said.most_common()), sep="\n")
