"""Entrance to every kind of attack."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from invgrad.attack.analytic import recover
from invgrad.attack.optimisation import optimise
from invgrad.attack.options import RunOptions
from invgrad.attack.result import Reconstruction
from invgrad.attack.settings import AnyAttack
from invgrad.clients.settings import Client
from invgrad.clients.shared import Shared, check
from invgrad.runtime.progress import ProgressBar
from invgrad.runtime.threads import soon_asleep
from invgrad.settings import SettingsError


@soon_asleep()
@torch.inference_mode(mode=False)  # nor does it matter if the caller records no gradients
def reconstruct(
    network: nn.Module,
    client: Client,
    shared: Shared,
    attack: AnyAttack,
    *,
    seed_key: str,
    start: Tensor | None = None,
    options: RunOptions | None = None,
) -> Reconstruction:
    """Attack every client in `shared` and return the selected reconstructions.

    `network` is the victim in evaluation mode on the device to compute on; a copy in the attack's precision is used.
    Restart r of client c starts from noise that depends on (`seed_key`, name of c, r) alone, or from `start`
    [clients, restarts, n, 3, h, w] in normalised coordinates if given. Trials do not influence each other; as many run
    at once as pay and fit into memory. An analytic attack draws nothing, neither uses nor finds
    labels, and has no iterations, for which the options are.

    Raises `SettingsError` if the arguments do not belong together, if labels must be inferred and cannot be, or if an
    analytic attack is to start somewhere.
    """
    check(network, client, shared)
    if attack.kind == "optimisation":
        return optimise(network, client, shared, attack, seed_key, start, options or RunOptions())
    if start is not None:
        raise SettingsError("start: an analytic attack starts nowhere; leave it out")
    return recover(network, client, shared, attack)


def reconstruct_with_progress(
    title: str,
    network: nn.Module,
    client: Client,
    shared: Shared,
    attack: AnyAttack,
    *,
    seed_key: str,
    options: RunOptions | None = None,
) -> Reconstruction:
    """Reconstruct as `reconstruct` does, showing the progress under this title."""
    with ProgressBar(title, attack.steps(len(shared))) as bar:

        def show(done: int, _: int, matching: Tensor) -> None:
            if bar.due():
                bar.show(done, f"gradient-matching loss {matching.nanmean().item():.4f}")

        shown = replace(options or RunOptions(), progress=show)
        return reconstruct(network, client, shared, attack, seed_key=seed_key, options=shown)
