"""Report of an audit: what clients' gradients gave away, in words, as one HTML page and as JSON.

All functions are pure; `invgrad.steps.audit` runs the attack and writes the files.
"""

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from invgrad.attack.settings import Attack
from invgrad.clients.settings import Client
from invgrad.defences.settings import Defence, Noise, Pruning, Quantisation, Sign
from invgrad.metrics.recovery import NOT_RECOVERED, PARTLY, RECOVERED, draws_needed, interval
from invgrad.runtime.progress import duration

NO_PROOF = "Not recovered by this attack is no proof of safety."

EXAMPLE = 0.05
"""Share for which the page says how many clients it takes, if none was asked for."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A fully connected layer, and of how many images it gave its input away."""

    name: str
    inputs: int
    of_pixels: bool
    exact: int
    """Images whose input was found up to rounding."""
    median_error: float
    """Median over the images of the relative error of the input found."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Number and share of images with one of some outcomes."""

    recoveries: tuple[str, ...]
    """Some of `RECOVERIES`."""
    images: int
    share: float
    interval: tuple[float, float]
    """The 95 % interval of the share among all such images."""

    @property
    def words(self) -> str:
        """The interval in words."""
        low, high = map(percent, self.interval)
        return f"{low} to {high}"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """An audit and its outcome."""

    network: str
    """The network, in words, with its parameters' origin."""
    source: str
    """The set of images, in words."""
    available: int
    """Number of images in the set."""
    labels: str
    """Origin of the labels, and whether the server knows them, in words."""
    client: Client
    images_per_client: int
    clients: int
    promise: str
    """The guarantee of a defence; empty if it has none."""
    attack: Attack
    device: str
    seconds: float
    others: int
    """Number of other images with which each reconstruction was compared."""
    images: pd.DataFrame
    """Rows of `best_first` with the columns `name`, `client` and `label` besides."""
    pictures: Mapping[str, tuple[bytes, bytes]]
    """PNG files of the original and the reconstruction, by name."""
    layers: Sequence[Layer]
    limit: float | None
    """Share of recovered images below which the audit passes; None: it judges nothing."""

    @property
    def outcome(self) -> list[Outcome]:
        """The share of each of `RECOVERIES`, and of the first two together."""
        return [self.share_of(*each) for each in ((RECOVERED,), (RECOVERED, PARTLY), (PARTLY,), (NOT_RECOVERED,))]

    def share_of(self, *recoveries: str) -> Outcome:
        """Return the share of images with one of these outcomes, and its 95 % interval.

        Images of one client share one gradient, so that only clients count as independent.
        """
        images = int(self.images["recovery"].isin(recoveries).sum())
        share = images / len(self.images)
        return Outcome(recoveries=recoveries, images=images, share=share, interval=interval(share, self.clients))

    @property
    def passed(self) -> bool | None:
        """True if the upper end of the interval of recovered images lies below the limit; None without a limit."""
        return None if self.limit is None else self.share_of(RECOVERED).interval[1] < self.limit

    @property
    def clients_needed(self) -> int:
        """The clients that it takes to show a share below the limit, or `EXAMPLE`, if no image is recovered."""
        return draws_needed(self.limit or EXAMPLE)

    @property
    def answer(self) -> str:
        """The outcome in one sentence."""
        recovered, partly = self.share_of(RECOVERED), self.share_of(PARTLY)
        total = f"{len(self.images)} image{'' if len(self.images) == 1 else 's'}"
        return (
            f"From what a client shares, this attack recovered {recovered.images or 'none'} of {total} "
            f"({recovered.words} of all such images, 95 % interval), and {partly.images or 'none'} partly."
        )

    @property
    def judgement(self) -> str:
        """The limit and whether the audit passes; empty without a limit."""
        if self.limit is None:
            return ""
        return (
            f"Limit of {percent(self.limit)} recovered: {'passed' if self.passed else 'failed'}; the upper end of the "
            f"interval is {percent(self.share_of(RECOVERED).interval[1])}."
        )


def as_json(audit: Audit) -> dict[str, Any]:
    """Return what a build or a script reads; PSNRs that are infinite or of a failed attack are null."""
    rows = audit.images.drop(columns="image").astype(object)
    return {
        "answer": audit.answer,
        "caveat": NO_PROOF,
        "images": len(audit.images),
        "clients": audit.clients,
        "outcome": {
            " or ".join(row.recoveries): {"images": row.images, "share": row.share, "interval": row.interval}
            for row in audit.outcome
        },
        "fail_if_recovered": audit.limit,
        "passed": audit.passed,
        "clients_needed": audit.clients_needed,
        "layers": [vars(layer) for layer in audit.layers],
        "per_image": rows.where(rows.map(_is_writable), None).to_dict("records"),
    }


def as_html(audit: Audit) -> str:
    """Render the page for a reader, its pictures inside."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_unbroken,
    )
    environment.filters.update(percent=percent, duration=duration, embedded=_embedded, decibels=_decibels)
    names = {"recovered": RECOVERED, "partly": PARTLY, "not_recovered": NOT_RECOVERED, "no_proof": NO_PROOF}
    words = {"shared": shared_words(audit.client, audit.images_per_client), "attack": attack_words(audit.attack)}
    return environment.get_template("audit.html.jinja").render(audit=audit, **names, **words, example=EXAMPLE)


def percent(share: float) -> str:
    """Format a share: `4.9 %`, `100 %`."""
    return f"{100 * share:.3g} %"


def shared_words(client: Client, images: int) -> str:
    """Say what a client with so many images shares."""
    held = "one image" if images == 1 else f"{images} images"
    if client.kind == "gradient":
        words = f"the gradient of the loss over {held}"
    else:
        steps = f"{len(client.batches(images))} local step{'' if len(client.batches(images)) == 1 else 's'}"
        words = f"the result of {steps} on {held} (mini-batches of {client.batch_size or images}, "
        words += f"learning rate {client.learning_rate:g})"
    normalised = ", batch norm by its own batch" if client.batch_norm == "training" else ""
    sent = ", with its statistics" if client.statistics == "sent" else ""
    return f"{words}{normalised}{sent}; {_defence_words(client.defence)}"


def _defence_words(defence: Defence | None) -> str:
    match defence:
        case None:
            return "no defence"
        case Noise():
            deviation = f"{defence.multiplier * defence.clip:g}"
            return f"clipped to norm {defence.clip:g}, with Gaussian noise of standard deviation {deviation} added"
        case Pruning():
            return f"the {percent(defence.share)} smallest entries set to zero"
        case Quantisation():
            return f"each entry rounded to one of {2**defence.bits - 1} values"
        case Sign():
            return "only the sign of each entry, times their mean magnitude"


def attack_words(attack: Attack) -> str:
    """Say which attack by optimisation it is."""
    proposed = attack == Attack(iterations=attack.iterations, restarts=attack.restarts)
    which = "the attack that Geiping et al. (2020) propose" if proposed else "a variant of Geiping et al. (2020)"
    signs = " on signs" if getattr(attack.optimiser, "signed", False) else ""
    return (
        f"{which}: {attack.distance.kind} distance of gradients, total variation weighted {attack.total_variation:g}, "
        f"{attack.optimiser.kind}{signs}; {attack.iterations:,} iterations, "
        f"{attack.restarts} restart{'' if attack.restarts == 1 else 's'}"
    )


def _unbroken(value: Any) -> Any:
    """Keep a number and its sign on one line."""
    return value.replace(" %", "\N{NO-BREAK SPACE}%") if isinstance(value, str) else value


def _is_writable(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}"


def _decibels(psnr: float) -> str:
    return "exact" if psnr == math.inf else f"{psnr:.1f} dB"
