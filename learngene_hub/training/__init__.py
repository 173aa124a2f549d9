"""Training one network: the loop, learning rates, and fitting a network to a few images."""
