"""Exact gradients of the gradient-matching loss by forward-over-reverse differentiation (Pearlmutter's R-operator)."""
