"""What everything stands on: errors, files, addressable randomness, progress, and what is kept under a key."""
