"""``flowtrain launch``: start the processes of a training."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from .group import Ended, run_together
from .options import FOLDER
from .places import local_environments, slurm_environment, slurm_script

__all__ = ["command"]


@click.command("launch")
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
@click.option("--ray", metavar="ADDRESS", help="Start them where a Ray cluster has room: auto, local, or HOST:6379.")
@click.option("--cpus", type=click.FloatRange(0, min_open=True), help="With --ray: CPUs for each process. [default: 1]")
@click.option("--spread", is_flag=True, help="With --ray: each process on a machine of its own.")
@click.option(
    "--working-dir",
    type=FOLDER,
    help="With --ray: a folder that Ray ships to all machines; SCRIPT.py is in it. Without it all see this one.",
)
@click.argument("script", metavar="SCRIPT.py")
@click.argument("args", nargs=-1, metavar="[-- ARGS...]")
def command(
    num: int,
    gpus: int | None,
    restarts: int,
    slurm: bool,
    printed: bool,
    ray: str | None,
    cpus: float | None,
    spread: bool,
    working_dir: str | None,
    script: str,
    args: tuple[str, ...],
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
    if slurm and ray is not None:
        raise click.UsageError("--slurm and --ray: one of them starts the processes")
    if ray is None and (cpus is not None or spread or working_dir is not None):
        raise click.UsageError("--cpus, --spread and --working-dir say what Ray does: add --ray ADDRESS")
    if not (Path(working_dir or ".") / script).is_file():
        raise click.ClickException(f"there is no file {script}" + (f" in {working_dir}" if working_dir else ""))
    if slurm and num != 1:
        raise click.UsageError("--slurm: srun has started the processes, so -n has no meaning (it has with --print)")
    # Their stdout is a pipe, which Python buffers in blocks: without PYTHONUNBUFFERED lines come late, or get lost in a
    # kill. FLOWTRAIN_RESUME makes train() resume without a change in the script: a restart must not begin anew.
    always = {"PYTHONUNBUFFERED": "1", **({"FLOWTRAIN_RESUME": "auto"} if restarts else {})}
    if ray is not None:
        start = _on_ray(ray, [script, *args], num, cpus or 1, gpus, spread, working_dir, always)
    else:

        def start() -> Ended:
            places = [slurm_environment(os.environ)] if slurm else local_environments(num, gpus)
            return run_together([sys.executable, script, *args], [{**place, **always} for place in places])

    ended = _restarted(start, 0 if slurm else restarts)  # SLURM's tasks end together, and the job script requeues them
    if ended.status or ended.asked is not None:
        click.echo(f"flowtrain launch: {ended}", err=True)
    sys.exit(ended.status)


def _on_ray(
    address: str,
    command: list[str],
    num: int,
    cpus: float,
    gpus: int | None,
    spread: bool,
    working_dir: str | None,
    environment: dict[str, str],
) -> Callable[[], Ended]:
    from ..dataflow.cluster import Ray  # here, as it brings all of dataflow along, which other launches do not need
    from .on_ray import run_on_ray

    shipped = None if working_dir is None else {"working_dir": working_dir}
    cluster = Ray(address, cpus=cpus, resources={"GPU": gpus} if gpus else None, runtime_env=shipped)
    if gpus == 0:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    folder = os.getcwd() if working_dir is None else None
    return lambda: run_on_ray(cluster, command, num, environment=environment, spread=spread, folder=folder)


def _restarted(start: Callable[[], Ended], left: int) -> Ended:
    """Start all processes, and again after a failure, at most `left` times; not after a request to end."""
    while True:
        ended = start()
        if not ended.status or ended.asked is not None or not left:
            return ended
        click.echo(f"flowtrain launch: {ended}; all are started again ({left} times left)", err=True)
        left -= 1
