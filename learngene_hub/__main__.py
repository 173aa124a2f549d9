"""`python -m learngene_hub` is the command `learngene`."""

from learngene_hub.cli.main import main

main()
