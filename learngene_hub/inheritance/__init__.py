"""Use learngenes: create timm models that start from a gene."""
