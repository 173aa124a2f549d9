"""What the package costs, each figure a ratio inside one process; `make bench` prints the table."""
