"""Compiled code: the program of small networks, Winograd convolutions, matrix products, the memory of L-BFGS."""
