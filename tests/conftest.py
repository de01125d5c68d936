"""Shared by all tests."""

from collections.abc import Iterator

import pytest
import torch

from invgrad.tangent.kernels import library as compiled

# Tests run side by side on few cores; threads of several processes would wait for each other.
torch.set_num_threads(1)

GENERATIONS = ("default", "avx2", "avx512")
"""Of processors, in order of age: each runs the compiled kernels of its own and of older ones."""
OWN = torch.backends.cpu.get_cpu_capability().lower()
CAN_RUN = GENERATIONS[: GENERATIONS.index(OWN) + 1] if OWN in GENERATIONS else ("default",)


@pytest.fixture(
    scope="module",
    params=[*CAN_RUN[-2:], *(pytest.param(each, marks=pytest.mark.night) for each in CAN_RUN[:-2])],
)
def generation(request: pytest.FixtureRequest) -> Iterator[str]:
    """The compiled kernels of one generation of processors at a time are in use; of the oldest of three, at night."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", request.param.upper)
        compiled.library.cache_clear()
        yield request.param
    compiled.library.cache_clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that in the end no worker waits for another that has just begun one; before
    them those that mostly wait for a cluster.
    """
    marked = {name: {item.path for item in items if item.get_closest_marker(name)} for name in ("cluster", "slow")}
    items.sort(key=lambda item: [item.path not in marked[name] for name in ("cluster", "slow")])
