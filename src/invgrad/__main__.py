"""Entrance of `python -m invgrad`."""

import signal

from invgrad.warm.client import hand_over

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C before anything has begun needs no traceback
hand_over()

from invgrad.cli.main import main  # noqa: E402 (takes a while to import)

signal.signal(signal.SIGINT, signal.default_int_handler)
main()
