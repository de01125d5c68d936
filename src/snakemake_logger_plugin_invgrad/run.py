"""State of a run of jobs: how far it is, for about how long it goes on, and what is being done."""

import csv
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path

from invgrad.runtime.progress import duration

TRUST = 0.05
"""Share of the whole work after which the time that it took counts as much as the time that was expected."""

ALMOST = 0.9
"""Largest share of its work that a job has done before it has ended."""


FLAGS = r" \([a-z_, ]+\)$"
"""Words that Snakemake adds to a path: (update) …"""


class Run:
    """A run of so many jobs, each known by a number."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._expected: Mapping[int, float] = {}
        self._at_once = 1
        self._start = time.monotonic()
        self._running: dict[int, tuple[str, float]] = {}
        self._finished: set[int] = set()
        self._took = 0.0
        self._outputs: dict[str, Path] = {}

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._start

    def expect(self, seconds: Mapping[int, float], at_once: int) -> None:
        """Expect that each job takes so many seconds, and that so many run at once."""
        self._expected, self._at_once = seconds, at_once

    def begin(self, job: int, rule: str, wildcards: Mapping[str, str], outputs: Collection[str]) -> None:
        """Note that a job begins."""
        name = " ".join([rule.removesuffix("_short"), *islice(wildcards.values(), 1)])
        self._running[job] = name, self.seconds
        paths = [Path(re.sub(FLAGS, "", path)) for path in outputs]
        self._outputs |= {path.name: path for path in paths}

    def finish(self, job: int) -> None:
        """Note that a job has ended well."""
        _, since = self._running.pop(job, ("", self.seconds))
        self._took += self.seconds - since
        self._finished.add(job)

    def fail(self, job: int) -> None:
        """Note that a job has failed; it may begin again."""
        self._running.pop(job, None)

    @property
    def began(self) -> bool:
        """True once a job has begun."""
        return bool(self._running or self._finished)

    def line(self) -> str:
        """Say how far the run is, for how long it goes on, and what is being done."""
        everything, done = self._work()
        names = ", ".join(dict.fromkeys(name for name, _ in self._running.values()))
        return (
            f"{min(done / everything, 0.99):4.0%}, about {duration(self.seconds_left())} left, "
            f"{len(self._finished)} of {self._jobs} jobs done" + (f"; now {names}" if names else "")
        )

    def seconds_left(self) -> float:
        """Estimate the seconds until the end: by the work that is left, and the time that work has taken so far."""
        everything, done = self._work()
        trusted = TRUST * everything
        return max(everything - done, 0.0) * (self.seconds + trusted / self._at_once) / (done + trusted)

    def summary(self) -> Iterator[str]:
        """Say what was made, in which time, and which file to open."""
        took, finished = duration(self.seconds), len(self._finished)
        if finished < self._jobs:
            yield f"Not finished: {finished} of {self._jobs} jobs done in {took}. The same command goes on from here."
            return
        verdicts = self._outputs.get("verdicts.csv")
        counted = f"; verdicts: {_count(verdicts)}" if verdicts and verdicts.is_file() else ""
        yield f"Done: {finished} jobs in {took}{counted}"
        if report := self._outputs.get("report.html"):
            yield f"Open {report}"

    def _work(self) -> tuple[float, float]:
        """All work, and what is done of it, in expected seconds of one worker; a job at work counts by its time."""
        everything = sum(self._expected.values()) or self._jobs
        finished = sum(self._cost(job) for job in self._finished)
        trusted = TRUST * everything
        slower = (self._took + trusted) / (finished + trusted)
        running = sum(
            min((self.seconds - since) / slower, ALMOST * self._cost(job)) for job, (_, since) in self._running.items()
        )
        return everything, finished + running

    def _cost(self, job: int) -> float:
        return self._expected.get(job, 0 if self._expected else 1)


def _count(verdicts: Path) -> str:
    with verdicts.open(encoding="utf-8", newline="") as file:
        counts = Counter(row["verdict"] for row in csv.DictReader(file))
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items(), key=lambda each: each[1]))
