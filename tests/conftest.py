"""Shared by all tests."""

import pytest
import torch

# Tests run side by side on few cores; threads of several processes would wait for each other.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that in the end no worker waits for another that has just begun one; before
    them those that mostly wait for a cluster.
    """
    marked = {name: {item.path for item in items if item.get_closest_marker(name)} for name in ("cluster", "slow")}
    items.sort(key=lambda item: [item.path not in marked[name] for name in ("cluster", "slow")])
