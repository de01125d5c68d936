"""Shared by all tests."""

import torch

# Tests run side by side on few cores; threads of several processes would wait for each other.
torch.set_num_threads(1)
