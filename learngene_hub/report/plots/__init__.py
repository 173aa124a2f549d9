"""The pictures of an evolution, an evaluation and a fine-tuning: figures."""
