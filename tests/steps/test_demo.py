"""The attack that `invgrad demo` shows, and what it does to files that are there."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from invgrad.cli.main import app
from invgrad.data.registry import describe
from invgrad.settings import SettingsError
from invgrad.steps import demo

SHORT = demo.ATTACK.model_copy(update={"iterations": 600, "restarts": 1})


def shown(out: Path) -> str:
    """What the command prints."""
    return CliRunner().invoke(app, ["demo", "--out", str(out)], catch_exceptions=False).output


def test_the_server_finds_more_than_a_flat_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "ATTACK", SHORT)
    out = tmp_path / "new/picture.png"
    said = shown(out)
    found, flat = map(float, re.findall(r"([\d.]+) dB", said))
    assert found > flat + 3
    assert flat == 11.4
    assert said.rstrip().endswith(str(out))
    with Image.open(out) as picture:
        left, top, side = demo.MARGIN, demo.MARGIN, 32 * demo.ZOOM
        drawn = picture.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.NEAREST)
        assert list(drawn.get_flattened_data()) == list(map(tuple, demo.photograph().flatten(1).T.tolist()))
    first = out.read_bytes()
    assert shown(out).splitlines()[0] == said.splitlines()[0]
    assert out.read_bytes() == first, "the same picture again, in place of its own"


def test_it_is_the_papers_attack() -> None:
    changed = {"iterations", "restarts"}
    default = type(demo.ATTACK)()
    assert demo.ATTACK.model_dump(exclude=changed) == default.model_dump(exclude=changed)


def test_the_photograph_is_the_first_one_packaged() -> None:
    first = describe("photos10").sources["packaged"].packages[0]
    assert first.distribution == "scikit-image", "which the attack needs anyway, so that no extra is needed"
    assert next(iter(first.files)) == "astronaut.png"
    assert demo.photograph().shape == (3, 32, 32)
    assert demo.photograph().dtype == torch.uint8


@pytest.mark.parametrize("there", ["text", "picture"])
def test_the_file_of_another_is_not_replaced(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "reconstruct_with_progress", lambda *_, **__: pytest.fail("an attack has started"))
    out = tmp_path / "mine.png"
    if there == "text":
        out.write_text("mine")
    else:
        Image.new("RGB", (2, 2)).save(out)
    before = out.read_bytes()
    with pytest.raises(SettingsError, match=r"mine\.png is there already, and not from `invgrad demo`"):
        shown(out)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "nearest"), [("found.jpg", "found.png"), ("found", "found.png"), ("a.b/found", "found.png")]
)
def test_only_a_png_is_written(name: str, nearest: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"must end in .png; nearest: .*{nearest}"):
        shown(tmp_path / name)
