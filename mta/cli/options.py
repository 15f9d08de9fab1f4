"""Options that many commands share, and what they mean.

Owns: ``--config`` (before or after the command's name), ``--json``, ``--limit``, reading the configuration for a
command. Never does: output of its own.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mta.config import Config

_F = TypeVar("_F", bound=Callable[..., Any])
_META = "mta.config"


def _remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta[_META] = value


def config_option(function: _F) -> _F:
    """``--config FILE``; the one nearest to the end of the command line counts."""
    return click.option(
        "--config",
        metavar="FILE",
        callback=_remember,
        expose_value=False,
        is_eager=True,
        help="The TOML file (default: $MTA_CONFIG, /etc/mta/mta.toml, the user's).",
    )(function)


def json_option(function: _F) -> _F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")(function)


def limit_option(several: str) -> Callable[[_F], _F]:
    """``--limit N`` of a listing; 0: all of them."""
    text = f"At most so many {several} (0: all)."
    return click.option("--limit", default=0, type=click.IntRange(min=0), help=text)


def config_path() -> str | None:
    """What ``--config`` said."""
    value: str | None = click.get_current_context().meta.get(_META)
    return value


def read_config() -> "Config":
    """The configuration that the command works with. Raises ConfigError."""
    from mta.config import load

    return load(config_path(), os.environ)
