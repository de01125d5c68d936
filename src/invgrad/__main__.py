"""Entrance of `python -m invgrad`."""

from invgrad.cli.main import main

main()
