"""The configuration: experiments, scales, deviations from the paper, and the jobs that follow."""
