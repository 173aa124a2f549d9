"""Learngenes as tensors and sizes: cut out of networks, put into newborn ones."""
