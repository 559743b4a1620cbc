"""``flowtrain launch``: start the processes of a training."""

from __future__ import annotations

import os
import sys

import click

from .group import Ended, run_together
from .places import local_environments, slurm_environment, slurm_script

__all__ = ["command"]


@click.command("launch", context_settings={"ignore_unknown_options": False})
@click.option("-n", "--num", type=click.IntRange(1), default=1, show_default=True, help="How many processes.")
@click.option("--gpus", type=click.IntRange(0), help="How many GPUs each process gets. Without it all see all.")
@click.option(
    "--restarts",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Continue the run that the log folder holds (resume='auto'), and start all again so often after a failure.",
)
@click.option("--slurm", is_flag=True, help="This is a task of a SLURM job: take the places of all tasks from srun.")
@click.option("--print", "printed", is_flag=True, help="With --slurm: write a job for sbatch, and start nothing.")
@click.argument("script", metavar="SCRIPT.py")
@click.argument("args", nargs=-1, metavar="[-- ARGS...]")
def command(
    num: int, gpus: int | None, restarts: int, slurm: bool, printed: bool, script: str, args: tuple[str, ...]
) -> None:
    """Start a training in several processes, each with the TF_CONFIG from which MultiWorkerMirroredStrategy knows all.

    Their lines come with the process's number before them. When one dies all end within seconds, and the exit status is
    that of the one that died first. SIGTERM and Ctrl-C reach all as SIGTERM, on which a run saves itself.

        flowtrain launch -n 4 --restarts 3 train.py -- --rate 0.1
    """
    if printed:
        if not slurm:
            raise click.UsageError("--print writes a job for SLURM: add --slurm")
        click.echo(slurm_script([script, *args], num, gpus, restarts), nl=False)
        return
    if not os.path.isfile(script):
        raise click.ClickException(f"there is no file {script}")
    if slurm and num != 1:
        raise click.UsageError("--slurm: srun has started the processes, so -n has no meaning (it has with --print)")
    ended = _run([script, *args], num, gpus, restarts, slurm)
    if ended.status or ended.asked is not None:
        click.echo(f"flowtrain launch: {ended}", err=True)
    sys.exit(ended.status)


def _run(command: list[str], num: int, gpus: int | None, restarts: int, slurm: bool) -> Ended:
    always = {"PYTHONUNBUFFERED": "1", **({"FLOWTRAIN_RESUME": "auto"} if restarts else {})}
    left = 0 if slurm else restarts
    while True:
        places = [slurm_environment(os.environ)] if slurm else local_environments(num, gpus)
        ended = run_together([sys.executable, *command], [{**place, **always} for place in places])
        if not ended.status or ended.asked is not None or not left:
            return ended
        click.echo(f"flowtrain launch: {ended}; all are started again ({left} times left)", err=True)
        left -= 1
