"""Command `demo`: the attack on one packaged photograph, as one picture."""

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from invgrad.attack.run import reconstruct_with_progress
from invgrad.attack.settings import Attack
from invgrad.clients.protocols import sharing
from invgrad.clients.settings import GradientClient
from invgrad.clients.shared import Shared
from invgrad.data.images import denormalise, normalise, to_unit
from invgrad.data.pictures import opened
from invgrad.data.registry import describe
from invgrad.metrics.image_quality import psnr
from invgrad.networks.checkpoint import VictimFile, untrained
from invgrad.networks.settings import LeNetZhu
from invgrad.results.files import write
from invgrad.settings import SettingsError

ATTACK = Attack(iterations=2000, restarts=8)
"""The paper's attack, cut down to a quarter of a minute."""

ZOOM = 8
MARGIN, LINE = 12, 20
"""Pixels between the images, and from one line of text to the next."""

AUTHOR = "invgrad demo"
"""Name that the picture bears, so that the next run may replace it and nothing else."""


def show_attack(out: Path) -> None:
    """Attack the gradient of one photograph, and write it beside its reconstruction and a flat image.

    Raises `SettingsError`, before any iteration, if `out` is a file that this did not write.
    """
    _refuse_others(out)
    torch.set_num_threads(1)  # so few trials of so small a network gain nothing from a second one
    victim, pixels = untrained(LeNetZhu(), "cifar10", seed=0), photograph()
    print("A client shares the gradient of one photograph, on an untrained LeNet. The server attacks it …", flush=True)
    start = time.monotonic()
    found = _attacked(victim, pixels)
    seconds = time.monotonic() - start
    original = to_unit(pixels, torch.float32, "cpu")
    flat = original.mean((1, 2), keepdim=True).expand_as(original)
    found_db, flat_db = (psnr(image[None], original[None]).item() for image in (found, flat))
    panels = {
        "what the client holds": original,
        f"what the server finds\nPSNR {found_db:.1f} dB": found,
        f"flat, its mean colour\nPSNR {flat_db:.1f} dB": flat,
    }
    about = PngInfo()
    about.add_text("Software", AUTHOR)
    picture = _side_by_side(panels)
    write(out, lambda path: picture.save(path, format="PNG", pnginfo=about))
    print(
        f"After {seconds:.0f} s it has an image of PSNR {found_db:.1f} dB; "
        f"a flat image of the mean colour has {flat_db:.1f} dB."
    )
    print(out)


def photograph() -> Tensor:
    """Cut the middle of the upper half out of the first packaged photograph, uint8 [3, 32, 32]."""
    image = opened(describe("photos10").sources["packaged"].packages[0].paths()[0]).image
    quarter, size = image.width // 4, describe("cifar10").size
    part = image.crop((quarter, 0, 3 * quarter, 2 * quarter)).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(part)).permute(2, 0, 1)


def _attacked(victim: VictimFile, pixels: Tensor) -> Tensor:
    """Find the image, [3, h, w] in [0, 1], by its gradient; the label is inferred too."""
    network, client = victim.build(), GradientClient()
    images = normalise(pixels[None], victim.mean, victim.std, torch.float32, "cpu")
    gradient, _ = sharing(client, network)(images, torch.tensor([0]))
    shared = Shared.by_one_client(gradient, shape=(3, *images.shape[2:]), mean=victim.mean, std=victim.std)
    result = reconstruct_with_progress("attack", network, client, shared, ATTACK, seed_key=AUTHOR)
    return denormalise(result.images[0, 0], victim.mean, victim.std).clamp(0, 1)


def _refuse_others(out: Path) -> None:
    if out.suffix.lower() != ".png":
        raise SettingsError(f"--out: {out} must end in .png; nearest: {out.with_suffix('.png')}")
    if not out.exists():
        return
    try:
        with Image.open(out) as image:
            author = image.info.get("Software")
    except (UnidentifiedImageError, OSError):
        author = None
    if author != AUTHOR:
        raise SettingsError(f"--out: {out} is there already, and not from `invgrad demo`; name another file")


def _side_by_side(panels: dict[str, Tensor]) -> Image.Image:
    """Draw images [3, h, w] in [0, 1], enlarged, each above its caption."""
    side = ZOOM * next(iter(panels.values())).shape[-1]
    picture = Image.new("RGB", (len(panels) * (side + MARGIN) + MARGIN, side + 2 * MARGIN + 2 * LINE), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(LINE * 3 // 4)
    for number, (caption, image) in enumerate(panels.items()):
        left = MARGIN + number * (side + MARGIN)
        pixels = (255 * image).round().to(torch.uint8).permute(1, 2, 0).numpy()
        enlarged = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
        picture.paste(enlarged, (left, MARGIN))
        draw.multiline_text((left, side + MARGIN + LINE // 4), caption, fill="black", font=font)
    return picture
