"""A learngene and its folder: the noun, the files with all their checks, and the model card."""
