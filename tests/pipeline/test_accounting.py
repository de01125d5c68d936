"""A cluster with accounting, as most sites have it: sacct tells how jobs are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_outages import survive_an_outage
from test_slurm import cluster, survive_a_night

pytestmark = [pytest.mark.night, pytest.mark.slow, pytest.mark.cluster, pytest.mark.usefixtures("_accounting")]
BY_SACCT = ("--slurm-status-command", "sacct")


@pytest.fixture(scope="module")
def _accounting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with cluster(tmp_path_factory.mktemp("cluster"), "accounting"):
        yield


def test_a_night_in_which_everything_goes_wrong(tmp_path: Path) -> None:
    survive_a_night(tmp_path, *BY_SACCT)


@pytest.mark.parametrize("down", ["sacct", "slurmdbd"])
def test_an_outage_of_a_minute_loses_nothing(down: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    survive_an_outage(down, tmp_path, monkeypatch, *BY_SACCT)
