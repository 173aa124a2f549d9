"""The `Learngene` class, gene folders with all their checks, and the model card."""
