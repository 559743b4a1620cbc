"""Run folders numbered as in Noise2Noise, results/00000-autoencoder-n2n, and their final weights network_final.npz."""

from __future__ import annotations

import re
from pathlib import Path

import click

import flowtrain as ft

FINAL = "network_final.npz"


def part_of_name(context: click.Context, parameter: click.Parameter, desc: str | None) -> str | None:
    """Callback of --desc: checked while options are parsed, before data is read, which may take long."""
    if desc is not None and not re.fullmatch(r"[\w.+-]+", desc):
        raise click.BadParameter(f"{desc!r} becomes a part of a folder's name: letters, digits, - and _")
    return desc


def run_folder(log_dir: str | None, desc: str | None, name: str, resume: bool, results: str = "results") -> str:
    """The folder of a run: `log_dir`; or `results/NNNNN-desc`, NNNNN being the next number, with `resume` the last."""
    if log_dir:
        return log_dir
    if desc is None:
        return str(ft.auto_set_dir(name, resume))
    taken = {int(m[1]): path for path in Path(results).glob("*") if (m := re.match(r"(\d{5})-", path.name))}
    ours = [path for number, path in sorted(taken.items()) if path.name == f"{number:05d}-{desc}"]
    if resume:
        if not ours:
            raise ft.FlowtrainError(f"there is no run {desc} in {results} to go on with")
        return str(ours[-1])
    return str(Path(results, f"{max(taken, default=-1) + 1:05d}-{desc}"))


def write_final(trainer, averaged: bool) -> None:
    """Write the final weights as one file; the averages of the weights if there are any, which predict better."""
    ft.export(trainer, Path(trainer.log_dir, FINAL), averaged=averaged, overwrite=True)
