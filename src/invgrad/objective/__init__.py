"""The attack's objective, a gradient-matching loss plus priors, and its gradient."""
