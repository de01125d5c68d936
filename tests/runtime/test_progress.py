"""How times are written for people."""

import pytest

from invgrad.runtime.progress import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (90, "1.5 min"),
        (596, "9.9 min"),
        (599, "10 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (4057 * 3600, "4,057 h"),
    ],
)
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
