"""A command line option that stands for several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def quick_option(defaults: dict[str, Any], about: str) -> Callable:
    """`--quick`: other defaults for a command's options; what is given as well comes before it.

    Args:
        defaults: Values by the names of the command's parameters.
        about: Begins the help.
    """

    def take(context: click.Context, parameter: click.Parameter, chosen: bool) -> None:
        if chosen:
            context.default_map = {**(context.default_map or {}), **defaults}

    flags = {f"--{name.replace('_', '-')}": value for name, value in defaults.items()}
    written = " ".join(flag if value is True else f"{flag} {value:g}" for flag, value in flags.items())
    text = f"{about}; the same as {written}"
    return click.option("--quick", is_flag=True, is_eager=True, expose_value=False, callback=take, help=text)
