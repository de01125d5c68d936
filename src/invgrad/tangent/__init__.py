"""Image gradients of the gradient-matching loss by Pearlmutter's R-operator (forward-over-reverse passes)."""
