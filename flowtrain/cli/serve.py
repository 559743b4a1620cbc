"""``flowtrain serve``: send a dataflow to the machine that trains."""

from __future__ import annotations

import re
import sys

import click

from ..dataflow.remote import send_dataflow
from ..utils.loading import to_run
from .group import run_together
from .load import argument_option, flow_of
from .options import LocalPath

__all__ = ["command"]


@click.command("serve")
@click.argument("target", metavar="FILE.py:NAME")
@click.argument("address", metavar="ADDRESS")
@argument_option("An argument of the function; repeatable.")
@click.option("-n", "--num", type=click.IntRange(1), default=1, show_default=True, help="How many senders to start.")
@click.option("--shard", metavar="I/N", help="Which part this is of how many, for a flow that can only be iterated.")
@click.option("--key", type=LocalPath(exists=True, dir_okay=False), help="The sender.key, where the receiver has one.")
@click.option("--wait", default=60.0, show_default=True, help="Seconds to wait for the receiver.")
def command(
    target: str, address: str, args: tuple[str, ...], num: int, shard: str | None, key: str | None, wait: float
) -> None:
    """Serve the dataflow that a function gives to the RemoteData that listens at an address, until it is done.

        flowtrain serve train.py:get_data tcp://trainer:5555 --key sender.key -a folder=photos/train

    Start as many as you like, on any machine: over an indexable flow each datapoint comes once. The script is loaded as
    by `flowtrain data`: it defines, and does not train.
    """
    if num > 1:
        if shard:
            raise click.UsageError("-n starts several senders of one indexable flow; --shard is for parts of another")
        # By this interpreter: the program `flowtrain` on the PATH may belong to another environment.
        single = [sys.executable, "-m", "flowtrain.cli", "serve", target, address, "--wait", str(wait)]
        single += [part for arg in args for part in ("-a", arg)] + (["--key", key] if key else [])
        sys.exit(run_together(single, [{}] * num).status)
    flow = flow_of(target, args)
    with to_run():  # send_dataflow starts a run, which is refused while a command only looks at a script
        sent = send_dataflow(flow, address, shard=_part(shard), key=key, wait=wait)
    click.echo(f"sent {sent:,} datapoints")


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise click.ClickException(f"--shard is I/N, with I from 0 to N - 1, got {text!r}")
    return int(match[1]), int(match[2])
