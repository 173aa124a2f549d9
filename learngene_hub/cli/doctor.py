"""`learngene doctor`."""

from dataclasses import asdict

import typer

from learngene_hub.cli.console import AsJson, TerminalReporter, importing, print_json, print_table

EXAMPLE = "Example: learngene doctor --json"


def doctor(as_json: AsJson = False) -> None:
    """Show versions, devices, caches, and whether the Hub answers.

    For bug reports; exit 1 if something is wrong. Nothing personal is shown: the home folder is written as ~, and the
    value of a token is left out.
    """
    with importing():
        from learngene_hub.doctor import examine

    with TerminalReporter().task("looking at devices, caches and the Hub", None):
        findings = examine()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [(each.check, f"{each.found}. FAULT: {each.fault}" if each.fault else each.found) for each in findings]
        print_table("learngene doctor", ("check", "found"), rows, whole_first=True)
    if any(finding.fault for finding in findings):
        raise typer.Exit(1)
