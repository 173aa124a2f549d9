"""The command line `learngene`: each command parses, calls one library function, and reports."""
