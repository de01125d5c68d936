"""Clients: what they hold and what they share, by federated SGD or federated averaging."""
