"""The command ``mta``: what an operator types.

Owns: the table of commands and how any error becomes one line and an exit code. Never does: any command's work.
Each command is a module, imported when it is called, so that ``mta queue list`` pays for nothing else.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from mta.cli.options import config_option
from mta.errors import ConfigError, MtaError

#: name → (module with a click command called ``command``, one line for ``mta --help``).
COMMANDS = {
    "run": ("mta.cli.run", "Run the server in the foreground."),
    "check": ("mta.cli.check", "Check the configuration file."),
    "status": ("mta.cli.status", "Show the services; stop, start, restart one."),
    "send": ("mta.cli.send", "Hand a message to a server over SMTP."),
    "queue": ("mta.cli.queue", "Look at queued messages and act on them."),
    "why": ("mta.cli.why", "Tell what each recipient of a message waits for."),
    "trace": ("mta.cli.trace", "Show a message's whole way from the event logs."),
    "audit": ("mta.cli.audit", "Balance the ledger against the queue."),
    "hooks": ("mta.cli.hooks", "Try out policies written in Python."),
    "directory": ("mta.cli.directory", "Change and show people, aliases and lists."),
    "mailbox": ("mta.cli.mailbox", "Look into mailboxes; export, import, remove."),
    "tls": ("mta.cli.tls", "Make a certificate for a first try."),
    "demo": ("mta.cli.demo", "Show three servers at work on loopback, from a letter to a burst."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; ``--help`` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hermes-mta", prog_name="mta")
@config_option
def root() -> None:
    """Hermes, a mail transfer agent.

    \b
    mta demo                         three servers at work, nothing needed, nothing left behind
    mta run                          a relay on 127.0.0.1:2525, no file needed
    mta --config mta.toml check      what is wrong with the file
    mta queue list                   what waits, and why
    """


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and exits with its sysexits code."""
    try:
        code = root.main(args=argv, prog_name="mta", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as e:
        click.echo(e.format_message(), err=True)
        code = os.EX_USAGE
    except click.UsageError as e:
        command = e.ctx.command_path if e.ctx is not None else "mta"
        code = _say(f"{e.format_message()} (see `{command} --help`)", os.EX_USAGE)
    except click.ClickException as e:
        code = _say(e.format_message(), os.EX_NOINPUT)
    except ConfigError as e:
        code = max(_say(finding, e.exit_code) for finding in e.findings)
    except MtaError as e:
        code = _say(str(e), e.exit_code)
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except PermissionError as e:
        code = _say(f"{e.filename or 'a file'}: {e.strerror}; run as root or as the server's user", os.EX_NOPERM)
    except OSError as e:
        code = _say(f"{e.filename or 'system'}: {e.strerror or e}", os.EX_IOERR)
    sys.exit(code if isinstance(code, int) else 0)


def _say(text: str, code: int) -> int:
    click.echo(f"mta: {' '.join(text.splitlines())}", err=True)
    return code
