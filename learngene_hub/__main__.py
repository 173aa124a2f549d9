"""The command `learngene`, also as `python -m learngene_hub`; Ctrl-C while it is being imported is no traceback."""

import sys


def main() -> None:
    """Entry point of the `learngene` script: imports the command, which takes a second or two, and runs it."""
    try:
        from learngene_hub.cli.main import main as run

        run()
    except KeyboardInterrupt:  # before the command itself could tell it
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
