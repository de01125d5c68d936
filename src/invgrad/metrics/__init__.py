"""Measures of how close a reconstruction is to its original."""
