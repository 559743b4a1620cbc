"""A command line option that changes the defaults of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def quick_option(defaults: dict[str, Any], about: str) -> Callable:
    """The option `--quick`: other defaults for a command's options; options that are given override them.

    Args:
        defaults: Name of a parameter of the command -> its default.
        about: The first part of the help text.
    """

    def take(context: click.Context, parameter: click.Parameter, chosen: bool) -> None:
        if chosen:
            context.default_map = {**(context.default_map or {}), **defaults}

    flags = {f"--{name.replace('_', '-')}": value for name, value in defaults.items()}
    written = " ".join(flag if value is True else f"{flag} {value:g}" for flag, value in flags.items())
    text = f"{about}; the same as {written}"
    return click.option("--quick", is_flag=True, is_eager=True, expose_value=False, callback=take, help=text)
