"""Benchmarks, and the cost of a plan."""
