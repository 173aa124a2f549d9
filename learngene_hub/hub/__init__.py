"""Repositories of the Hugging Face Hub: found, fetched and pushed, and every way that can fail, in words.

Knows files and commits, not what is in them.
"""
