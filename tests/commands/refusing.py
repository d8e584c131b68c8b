"""A command that must be refused, for the tests of commands."""

from zcache.commands import main


def refused(capsys, *arguments: str) -> str:
    """Run a command that must be refused and return its one line on stderr."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err
