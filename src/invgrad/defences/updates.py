"""Updates and gradients under a defence, and what its noise promises.

An attack knows nothing of them: it compares its candidates' gradients with what was shared.
"""

from collections.abc import Sequence

import torch
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr
from torch import Tensor

from invgrad.defences.settings import Defence, Noise, Pruning, Quantisation, Sign
from invgrad.seeds import generator


def defended(defence: Defence | None, update: Sequence[Tensor], *seed: object) -> tuple[Tensor, ...]:
    """Apply a defence to all tensors of an update as to one vector; `seed`: what the noise is derived from."""
    if defence is None:
        return tuple(update)
    vector = torch.cat([each.flatten() for each in update]).double()
    changed = _changed(defence, vector, seed).to(update[0].dtype)
    parts = changed.split([each.numel() for each in update])
    return tuple(part.reshape(each.shape) for part, each in zip(parts, update, strict=True))


def _changed(defence: Defence, vector: Tensor, seed: tuple[object, ...]) -> Tensor:
    match defence:
        case Noise():
            clipped = vector * min(1.0, defence.clip / max(float(vector.norm()), 1e-300))
            noise = torch.randn(len(vector), generator=generator("defence", *seed), dtype=torch.float64)
            return clipped + defence.multiplier * defence.clip * noise.to(vector.device)
        case Pruning():
            count = int(round(defence.share * len(vector), 6))  # 0.29 · 100 is 28.999… in binary
            smallest = vector.abs().argsort(stable=True)[:count]
            return vector.index_fill(0, smallest, 0.0)
        case Quantisation():
            step = vector.abs().max() / (2 ** (defence.bits - 1) - 1)
            return (vector / step).round() * step if step > 0 else vector
        case Sign():
            return vector.sign() * vector.abs().mean()


def delta_of(epsilon: float, multiplier: float) -> float:
    """Compute δ of one release of an update with noise, exact for every ε (Balle and Wang 2018, Theorem 8).

    Any other update of at most the clipping norm C lies at most 2C away, and the noise has standard deviation
    `multiplier` · C. This protects one update as a whole, once; it is not DP-SGD's guarantee for one example.
    """
    half, rest = 1 / multiplier, epsilon * multiplier / 2
    return float(ndtr(half - rest) - torch.tensor(epsilon + log_ndtr(-half - rest)).exp())


def epsilon_of(delta: float, multiplier: float) -> float:
    """Compute the least ε for which one release with this noise is (ε, δ)-differentially private; see `delta_of`."""
    if delta_of(0.0, multiplier) <= delta:
        return 0.0
    most = 1.0
    while delta_of(most, multiplier) > delta:
        most *= 2
    return float(brentq(lambda epsilon: delta_of(epsilon, multiplier) - delta, 0.0, most))
