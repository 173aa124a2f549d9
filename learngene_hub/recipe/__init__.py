"""Recipes: every constant of an evolution, checked before anything runs."""
