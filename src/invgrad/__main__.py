"""`python -m invgrad`."""

from invgrad.cli import main

main()
