"""Replication of *Inverting Gradients – How easy is it to break privacy in federated learning?* (NeurIPS 2020)."""

__version__ = "0.1.0"
