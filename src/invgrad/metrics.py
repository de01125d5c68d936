"""How close a reconstruction is to the original, image by image."""

from skimage.metrics import structural_similarity
from torch import Tensor


def mean_squared_error(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Mean squared error per image, shape [n], of images [n, 3, height, width] clamped to [0, 1]."""
    return (reconstructions.clamp(0, 1) - originals.clamp(0, 1)).square().flatten(1).mean(1)


def psnr(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio per image in dB, shape [n], peak 1, of images [n, 3, height, width] clamped to [0, 1];
    infinite for an exact reconstruction. The paper reports its mean over the images (released code: `rec_mult.py`).
    """
    return -10 * mean_squared_error(reconstructions, originals).log10()


def ssim(reconstructions: Tensor, originals: Tensor) -> list[float]:
    """Structural similarity per image (Wang et al. 2004, scikit-image's 7×7 window, data range 1), of images
    [n, 3, height, width] clamped to [0, 1]; in [−1, 1].
    """
    pairs = zip(reconstructions.clamp(0, 1).cpu().numpy(), originals.clamp(0, 1).cpu().numpy(), strict=True)
    return [float(structural_similarity(a, b, channel_axis=0, data_range=1.0)) for a, b in pairs]
