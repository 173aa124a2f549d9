"""Learngenes as tensors and sizes: extracted from networks, inherited by newborn networks."""
