"""Training: the network, its objectives and the loop. Everything here needs the extra `train` (torch)."""
