"""Evaluations on branches: their order among the streams, as far as it shows without a GPU."""

from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

import pytest
import torch

from invgrad.objective.branches import SIDE_BY_SIDE, Branches


class Streams:
    """A GPU's streams, of which it notes who waits for whom and where something is evaluated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.made = 0
        self.present = Stream("present", self)
        monkeypatch.setattr(torch.cuda, "Stream", self._make)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self.present)
        monkeypatch.setattr(torch.cuda, "stream", self._within)

    def _make(self, device: torch.device) -> "Stream":
        self.made += 1
        return Stream(str(self.made - 1), self)

    def _within(self, stream: "Stream") -> AbstractContextManager[None]:
        @contextmanager
        def within() -> Any:
            before, self.present = self.present, stream
            yield
            self.present = before

        return within()

    def evaluate(self, number: int) -> int:
        self.events.append(f"{number} on {self.present.name}")
        return number**2


class Stream:
    def __init__(self, name: str, streams: Streams) -> None:
        self.name, self._streams = name, streams

    def wait_stream(self, other: Self) -> None:
        self._streams.events.append(f"{self.name} waits for {other.name}")


def test_on_a_cpu_one_follows_the_other() -> None:
    branches = Branches(torch.device("cpu"))
    assert branches.at_once == 1
    assert branches.each(lambda number: number**2, 3) == [0, 1, 4]


def test_each_branch_leaves_the_present_stream_and_joins_it(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch)
    assert Branches(torch.device("cuda")).each(streams.evaluate, 2) == [0, 1]
    leaving, joining = (
        ["0 waits for present", "1 waits for present"],
        ["present waits for 0", "present waits for 1"],
    )
    assert streams.events == [*leaving, "0 on 0", "1 on 1", *joining]


def test_more_evaluations_than_streams_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch)
    branches = Branches(torch.device("cuda"))
    assert branches.at_once == streams.made == SIDE_BY_SIDE
    count = SIDE_BY_SIDE + 3
    assert branches.each(streams.evaluate, count) == [number**2 for number in range(count)]
    evaluated = [event for event in streams.events if " on " in event]
    assert evaluated == [f"{number} on {number % SIDE_BY_SIDE}" for number in range(count)]


def test_branches_join_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(monkeypatch)

    def runs_out(number: int) -> int:
        if number:
            raise torch.OutOfMemoryError
        return streams.evaluate(number)

    with pytest.raises(torch.OutOfMemoryError):
        Branches(torch.device("cuda")).each(runs_out, 2)
    assert streams.events[-2:] == ["present waits for 0", "present waits for 1"]
