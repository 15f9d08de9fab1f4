"""Every command says what it does and shows an example that could be typed."""

import importlib
from collections.abc import Iterator

import click
import pytest

from mta.cli import COMMANDS, root


def commands() -> Iterator[tuple[str, click.Command]]:
    for name, (module, _) in COMMANDS.items():
        yield from below(f"mta {name}", importlib.import_module(module).command)


def below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """The command and all that it has below it."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from below(f"{path} {name}", inner)


@pytest.mark.parametrize(("path", "command"), [*commands()], ids=lambda value: value if isinstance(value, str) else "")
def test_help_begins_with_a_sentence_and_has_an_example(path: str, command: click.Command) -> None:
    text = command.get_help(click.Context(command, info_name=path, max_content_width=100))
    body = text.split("\n\n", 1)[1].partition("Options:")[0]
    assert body.lstrip()[0].isupper()
    first_words = [line.strip().rpartition("| ")[2] for line in body.splitlines()]
    assert any(words.removeprefix("MTA_WORKERS=4 ").startswith(path) for words in first_words), text
    assert max(map(len, text.splitlines())) <= 100


def test_the_overview_lists_every_command_without_importing_it() -> None:
    text = root.get_help(click.Context(root, info_name="mta"))
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name} " in text
        assert summary[:40] in text
