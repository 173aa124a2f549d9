"""Genetic Transfer Learning: `generation` is the algorithm, `run` the evolution from recipe to gene folder."""
