"""Entrance of `python -m invgrad`."""

from invgrad.warm.client import hand_over

hand_over()

from invgrad.cli.main import main  # noqa: E402 (takes a while to import)

main()
