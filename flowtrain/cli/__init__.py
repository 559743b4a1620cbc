"""The command line program ``flowtrain``. Each subcommand is a module of its own, imported when it is used."""

from __future__ import annotations

import importlib
from typing import Any

import click

from .. import __version__
from ..utils.errors import FlowtrainError, closest
from ..utils.loading import LoadingEnded, look_only
from ..utils.optional import raise_missing
from .errors import in_one_line

__all__ = ["main"]

# name of the subcommand -> (module with the click command `command`, text in the list of commands)
_COMMANDS: dict[str, tuple[str, str]] = {
    "data": ("flowtrain.cli.data", "Look at a dataflow: what it gives, how fast, and what the limit is."),
    "export": ("flowtrain.cli.export", "Write a model in another format, checked against the original."),
    "inspect": ("flowtrain.cli.inspect", "Show what is in a checkpoint or model file."),
    "launch": ("flowtrain.cli.launch", "Start the processes of a training: here, by SLURM, or on Ray."),
    "report": ("flowtrain.cli.report", "Show runs on one page: curves, what differs, pictures, times."),
    "runs": ("flowtrain.cli.runs", "List runs: how each stands, and the best values it reached."),
    "serve": ("flowtrain.cli.serve", "Send a dataflow to the machine that trains."),
    "predict": ("flowtrain.cli.predict", "Run a model over pictures and arrays."),
}


class _Commands(click.Group):
    """A group whose commands are imported when used: ``flowtrain --help`` and ``data`` import no TensorFlow."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            ctx.fail(f"No such command {cmd_name!r}. {closest(cmd_name, list(_COMMANDS))}")
        try:
            return importlib.import_module(_COMMANDS[cmd_name][0]).command
        except ImportError as error:
            raise_missing(error, f"flowtrain {cmd_name}")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            # Around the whole command, not the script's import alone: the function that is named (FILE.py:NAME) is
            # called later, and may call train() too.
            with look_only():
                return super().invoke(ctx)
        except LoadingEnded as end:
            raise click.ClickException(
                f"{end.call} was called in line {end.line} of {end.file}, but this command only looks at what a script "
                "defines, it never runs it. Name a function that makes the data or the model, and nothing more."
            ) from end
        except FlowtrainError as error:
            raise click.ClickException(in_one_line(error)) from error


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flowtrain")
def main() -> None:
    """Flowtrain: dataflow, named tensors and callbacks for TensorFlow 2."""
