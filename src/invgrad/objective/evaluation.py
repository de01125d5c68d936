"""Value and gradient of the objective."""

from typing import NamedTuple

from torch import Tensor


class Evaluation(NamedTuple):
    """Value and gradient of the objective at the trials' present candidates."""

    image_gradient: Tensor
    """Gradient with respect to the images, [trials, n, 3, h, w]."""
    label_gradient: Tensor | None
    """Gradient with respect to soft labels, [trials, n, classes]; None for class indices."""
    objective: Tensor
    """Value, [trials]."""
    matching: Tensor
    """Gradient-matching loss, without the priors, [trials]."""
