"""The printed values of the paper and the verdicts on them."""
