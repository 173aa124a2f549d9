"""Fetch and push repositories of the Hugging Face Hub, with a clear message for every failure.

This package handles files and commits, not their content.
"""
