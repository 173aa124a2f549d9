"""The pictures of an evolution, an evaluation and a fine-tuning: figures, written as PNG or put into a page as SVG."""
