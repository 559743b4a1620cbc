"""``flowtrain runs``: a table of runs."""

from __future__ import annotations

import click

from ..report import runs_table
from ..report.table import table_rows
from ..utils.json_text import json_text

__all__ = ["command"]


@click.command("runs")
@click.argument("folder", default="train_log", type=click.Path())
@click.option("-m", "--metric", "metrics", multiple=True, metavar="NAME", help="A scalar to show; repeatable.")
@click.option("-s", "--sort", metavar="COLUMN", help="A column or a scalar; the best run of a scalar comes first.")
@click.option("-r", "--reverse", is_flag=True, help="Turn the order round.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(folder: str, metrics: tuple[str, ...], sort: str | None, reverse: bool, as_json: bool) -> None:
    """List the runs in FOLDER (default: train_log): how each stands, and the best values it reached.

    A status is one of running, finished, failed, interrupted (Ctrl-C, SIGTERM) and killed:

        flowtrain runs train_log --sort validation_l2_loss
    """
    if as_json:
        click.echo(json_text(table_rows(folder, sort, reverse), indent=1))
    else:
        click.echo(runs_table(folder, metrics, sort, reverse))
