"""Cores of the machine. Imports no torch."""

import os


def usable_cores() -> int:
    """Count the cores that this process may use, of which a scheduler may give it a few."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
