"""Shared basics: errors, files, addressable randomness, progress, and values stored under a key."""
