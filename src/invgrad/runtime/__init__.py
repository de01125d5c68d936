"""Needs of a running job: device, signals, checkpoints, progress, environment."""
