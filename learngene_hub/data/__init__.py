"""Image data sets: read as one tensor, split by class, sampled as k-way tasks, and cut into batches."""
