"""Selection among the restarts of an attack."""

import torch
from torch import Tensor

from invgrad.attack.settings import Selection
from invgrad.objective.priors import total_variation


def select(candidates: Tensor, cost: Tensor, by: Selection) -> tuple[Tensor, Tensor]:
    """Select or average the restarts of every client, `by` as in `Attack.selection`.

    `candidates` [clients, restarts, n, 3, h, w] have the gradient-matching losses `cost` [clients, restarts]. Failed
    restarts (loss or pixels not finite) never take part. Returns the images [clients, n, 3, h, w] and the selected
    restart [clients], −1 where none was.
    """
    finite = cost.isfinite() & candidates.isfinite().flatten(2).all(2)
    if by in ("pixel-mean", "pixel-median"):
        kept = torch.where(finite[:, :, None, None, None, None], candidates, torch.nan)
        averaged = kept.nanmean(1) if by == "pixel-mean" else kept.nanmedian(1).values
        return averaged, torch.full_like(cost[:, 0], -1, dtype=torch.long)
    score = cost
    if by == "total-variation":
        score = torch.stack([torch.stack([total_variation(x) for x in each]) for each in candidates])
    best = torch.where(finite, score, torch.inf).argmin(1)
    chosen = candidates[torch.arange(len(candidates), device=candidates.device), best]
    succeeded = finite.any(1)
    return torch.where(succeeded[:, None, None, None, None], chosen, torch.nan), torch.where(succeeded, best, -1)
