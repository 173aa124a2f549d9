"""The command line in this process, without colours."""

from typer.testing import CliRunner

from learngene_hub.cli.main import app

PLAIN = {"NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"}


def learngene(*arguments):
    return CliRunner(env=PLAIN).invoke(app, [str(argument) for argument in arguments])


def words(text):
    return " ".join(text.split())


def commands(group=app, path=()):
    for command in group.registered_commands:
        yield (*path, command.name or command.callback.__name__)
    for inner in group.registered_groups:
        yield from commands(inner.typer_instance, (*path, inner.name))
