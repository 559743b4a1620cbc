"""``flowtrain report``: runs as one page."""

from __future__ import annotations

from pathlib import Path

import click

from ..dataflow.inspect.profile import write_profile
from ..report import watch, write_report
from .load import argument_option, flow_of
from .options import FOLDER

__all__ = ["command"]


@click.command("report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=FOLDER)
@click.option("-o", "--output", default="report.html", show_default=True, type=click.Path(dir_okay=False))
@click.option(
    "--images", default=24, show_default=True, type=click.IntRange(1), help="How many pictures of a kind to keep."
)
@click.option(
    "--watch", "watched", is_flag=True, help="Write it again until the runs have ended; the page renews itself."
)
@click.option("--every", default=10.0, show_default=True, help="Seconds between renewals with --watch.")
@click.option(
    "--data", metavar="FILE.py:NAME", help="Also measure this dataflow, and note its profile in the runs' folders."
)
@argument_option("An argument of its function; repeatable.")
def command(
    runs: tuple[str, ...],
    output: str,
    images: int,
    watched: bool,
    every: float,
    data: str | None,
    args: tuple[str, ...],
) -> None:
    """Show runs on one page: curves over each other, what differs, pictures, where the time went.

    RUN is a run's log folder; give several to compare them. The page needs no network and no other file:

        flowtrain report train_log/colorize train_log/colorize-2 -o report.html
    """
    if data is not None:
        found = flow_of(data, args).explain(quiet=True)
        for run in runs:
            write_profile(found, Path(run))
    # Half a second at least: the page is 5 MB, which the browser reads anew each time.
    path = (
        watch(runs, output, every=max(every, 0.5), images=images)
        if watched
        else write_report(runs, output, images=images)
    )
    click.echo(f"wrote {path}" + (f" ({path.stat().st_size / 1e6:.1f} MB)" if isinstance(path, Path) else ""))
