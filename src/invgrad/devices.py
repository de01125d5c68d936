"""Where to compute."""

import torch

from invgrad.settings import SettingsError, unknown


def choose(name: str) -> torch.device:
    """`auto` is the first CUDA device if there is one, else the CPU; otherwise a torch device name such as `cuda:1`.

    Raises `SettingsError` for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = ["auto", "cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if name not in there and not (name == "cuda" and len(there) > 2):
        raise SettingsError(f"--device: {unknown('device', name, there)}")
    return torch.device(name)
