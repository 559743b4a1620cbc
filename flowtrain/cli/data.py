"""``flowtrain data``: look at a dataflow."""

from __future__ import annotations

import copy
import time

import click

from flowtrain.dataflow.core.datapoint import Datapoint

from ..dataflow import PrintData, TestDataSpeed, show
from .load import argument_option, flow_of

__all__ = ["command"]


@click.command("data")
@click.argument("target", metavar="FILE.py:NAME")
@argument_option("An argument of the function; repeatable.")
@click.option("-n", "--num", default=50, show_default=True, help="How many datapoints to measure.")
@click.option("-p", "--print", "printed", default=1, show_default=True, help="How many datapoints to describe.")
@click.option("--consumer-ms", default=0.0, help="Pretend that a training step takes this long for each datapoint.")
@click.option("--seconds", default=30.0, show_default=True, help="Measure for at most this long.")
@click.option("--speed", is_flag=True, help="Also measure the speed without looking at the stages.")
@click.option("--sheet", type=click.Path(dir_okay=False), help="Write a contact sheet, .png or .html.")
def command(
    target: str,
    args: tuple[str, ...],
    num: int,
    printed: int,
    consumer_ms: float,
    seconds: float,
    speed: bool,
    sheet: str | None,
) -> None:
    """Look at the dataflow that a function gives: what it hands out, what each stage costs, what the limit is.

    FILE.py:NAME is a script and, in it, a function that returns a dataflow, or a dataflow itself:

        flowtrain data train.py:get_data -a folder=photos/train -a training=True
    """
    ds = flow_of(target, args)
    # Copies: each of the parts below looks at the flow's first epoch, whatever the others have read of it.
    if printed:
        # By hand and closed: no more datapoints are made than are printed, and workers of the flow end here.
        walk = iter(PrintData(copy.copy(ds), num=printed))
        for _ in range(printed):
            next(walk, None)
        walk.close()  # type: ignore[attr-defined]
    if sheet:
        click.echo(f"contact sheet: {show(ds, sheet)}")
    if speed:
        TestDataSpeed(copy.copy(ds), size=num, warmup=2, max_seconds=seconds).start()
    ds.explain(num, consumer=_Busy(consumer_ms) if consumer_ms else None, max_seconds=seconds)


class _Busy:
    """A consumer that sleeps for each datapoint, in the place of a training step."""

    def __init__(self, ms: float) -> None:
        self._seconds = ms / 1e3

    def __call__(self, datapoint: Datapoint) -> None:
        time.sleep(self._seconds)
