"""The words of an audit: its answer, its judgement, its JSON, and what clients share."""

import json
import math
from typing import Any

import pandas as pd
import pytest

from invgrad.attack.settings import Attack
from invgrad.clients.settings import Client, FederatedAveraging, GradientClient
from invgrad.defences.settings import Noise, Pruning, Quantisation, Sign
from invgrad.report.audit import Audit, Layer, as_html, as_json, attack_words, shared_words


def audit(recoveries: list[str], **changes: Any) -> Audit:
    """An audit of clients of one image each, with these outcomes."""
    images = pd.DataFrame(
        {
            "name": [f"image {number}" for number in range(len(recoveries))],
            "client": range(len(recoveries)),
            "label": "cat",
            "attack": "optimisation",
            "image": range(len(recoveries)),
            "recovery": recoveries,
            "psnr": [math.inf, *[20.0] * (len(recoveries) - 2), math.nan],
            "flat_psnr": 12.0,
            "ssim": 0.5,
            "flat_ssim": 0.1,
            "correlation": 0.9,
            "nearest_other": 0.5,
        }
    )
    facts: dict[str, Any] = {
        "network": "LeNet <of mine>",
        "source": "the folder mine",
        "available": 2000,
        "labels": "those of the data set",
        "client": GradientClient(),
        "images_per_client": 1,
        "clients": len(recoveries),
        "promise": "",
        "attack": Attack(),
        "device": "cpu",
        "seconds": 75.0,
        "others": 1000,
        "images": images,
        "pictures": dict.fromkeys(images["name"], (b"one", b"other")),
        "layers": [Layer(name="fc", inputs=768, of_pixels=False, exact=2, median_error=1e-7)],
        "limit": 0.05,
    }
    return Audit(**facts | changes)


def test_a_build_passes_only_if_the_interval_lies_below() -> None:
    none = audit(["not recovered"] * 72)
    assert none.passed
    assert none.judgement == "Limit of 5 % recovered: passed; the upper end of the interval is 4.99 %."
    assert not audit(["not recovered"] * 71).passed
    assert not audit(["recovered", *["not recovered"] * 71]).passed
    assert audit(["partly", *["not recovered"] * 71]).passed
    assert audit(["recovered"] * 3, limit=None).passed is None


def test_the_answer_counts_what_was_found() -> None:
    assert (
        "recovered 1 of 3 images (0.84 % to 90.6 % of all such images"
        in audit(["recovered", "partly", "partly"]).answer
    )
    assert audit(["recovered", "partly", "partly"]).answer.endswith("and 2 partly.")


def test_the_json_is_strict() -> None:
    found = json.loads(json.dumps(as_json(audit(["recovered", "partly", "not recovered"])), allow_nan=False))
    assert [row["psnr"] for row in found["per_image"]] == [None, 20.0, None]
    assert found["outcome"]["recovered or partly"]["images"] == 2
    assert found["clients_needed"] == 72
    assert found["layers"][0]["exact"] == 2


def test_the_page_shows_every_case_and_escapes_names() -> None:
    page = as_html(audit(["recovered", "partly", "not recovered"]))
    assert "LeNet &lt;of mine&gt;" in page
    assert "PSNR exact" in page
    assert "every restart failed" in page
    assert "under 0.1\N{NO-BREAK SPACE}%" in page
    assert "There is no such layer here." in as_html(audit(["partly"] * 2, layers=[]))
    several = as_html(audit(["partly"] * 8, images_per_client=4, clients=2))
    assert "the intervals count clients, not images" in several
    assert "72 clients (288 images)" in several


@pytest.mark.parametrize(
    ("client", "images", "words"),
    [
        (GradientClient(), 1, "the gradient of the loss over one image; no defence"),
        (GradientClient(defence=Pruning(share=0.9)), 8, "over 8 images; the 90 % smallest entries set to zero"),
        (
            GradientClient(defence=Noise(clip=2, multiplier=0.5)),
            1,
            "to norm 2, with Gaussian noise of standard deviation 1",
        ),
        (GradientClient(defence=Quantisation(bits=4)), 1, "each entry rounded to one of 15 values"),
        (GradientClient(defence=Sign()), 1, "only the sign of each entry"),
        (
            GradientClient(batch_norm="training", statistics="sent"),
            4,
            "batch norm by its own batch, with its statistics",
        ),
        (
            FederatedAveraging(epochs=2, batch_size=2),
            4,
            "4 local steps on 4 images (mini-batches of 2, learning rate 0.0001)",
        ),
        (FederatedAveraging(steps=1), 1, "the result of 1 local step on one image"),
    ],
)
def test_it_says_what_clients_share(client: Client, images: int, words: str) -> None:
    assert words in shared_words(client, images)


def test_it_says_which_attack_was_tried() -> None:
    assert attack_words(Attack(restarts=8)).startswith("the attack that Geiping et al. (2020) propose: cosine distance")
    assert "8 restarts" in attack_words(Attack(restarts=8))
    assert attack_words(Attack(total_variation=0.1)).startswith("a variant of Geiping et al. (2020)")
