"""Architectures of the victims, their training, their checkpoints."""
