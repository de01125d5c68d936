"""The attack: settings, initialisation, optimisation loop, labels, selection; the analytic attack."""
