"""A classifier of digits whose hyper-parameters come from flags, from a file, or from a search.

python examples/sweep/sweep.py train --config examples/sweep/small.yaml --rate 3e-3
python examples/sweep/sweep.py search --trials 20 --study sqlite:///sweep.db --log-dir train_log/sweep
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import optuna
import tensorflow as tf
import yaml

import flowtrain as ft
from flowtrain import BatchData, Dropout, FullyConnected
from flowtrain.cli.options import FOLDER, POSITIVE, RATE, FiniteRange, Group


@dataclasses.dataclass(frozen=True)
class Hyper:
    """The hyper-parameters that are tuned."""

    rate: float = 1e-3
    units: int = 128
    dropout: float = 0.2
    batch: int = 64


class Digits(ft.ModelDesc):
    """A classifier of digits with one hidden layer."""

    def __init__(self, hyper: Hyper):
        self.hyper = hyper

    def inputs(self):
        return [tf.TensorSpec((None, 28, 28), tf.float32, "image"), tf.TensorSpec((None,), tf.int32, "label")]

    def build_graph(self, image, label):
        x = tf.reshape(image / 255, [-1, 28 * 28])
        x = FullyConnected("hidden", x, self.hyper.units, activation=tf.nn.relu)
        logits = FullyConnected("logits", Dropout("dropout", x, rate=self.hyper.dropout), 10)
        tf.cast(tf.not_equal(tf.argmax(logits, 1, tf.int32), label), tf.float32, name="wrong")
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits), name="cost")

    def optimizer(self):
        return tf.keras.optimizers.Adam(ft.get_scalar_var("learning_rate", self.hyper.rate, summary=True))


def run(hyper: Hyper, data: str | None, epochs: int, log_dir: str | Path, *callbacks: ft.Callback) -> float:
    """Train once; returns the error rate on held-out digits after the last epoch."""
    train, test = (ft.Mnist(split, shuffle=split == "train", folder=data) for split in ("train", "test"))
    validation = ft.InferenceRunner(BatchData(test, 500, remainder=True), [ft.ClassificationError("wrong")])
    config = ft.TrainConfig(
        model=Digits(hyper),
        dataflow=BatchData(train, hyper.batch),
        callbacks=[ft.ModelSaver(keep=1), validation, *callbacks],
        max_epoch=epochs,
        log_dir=log_dir,
    )
    return ft.train(config).history["validation_error"][-1][1]


def from_file(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
    """Callback of --config: take defaults of all other options from a YAML or JSON file; given flags override them."""
    if path is None:
        return
    values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    known = {option.name for option in ctx.command.params}
    if not isinstance(values, dict) or not set(values) <= known:
        names = ", ".join(sorted(map(str, set(values) - known))) if isinstance(values, dict) else "no table of names"
        raise click.BadParameter(f"{path} holds {names}; it may set {', '.join(sorted(known - {param.name}))}")
    ctx.default_map = values


@click.group(cls=Group, help=__doc__)
def main() -> None:
    """The two commands."""


@main.command()
@click.option("--config", type=click.Path(exists=True, dir_okay=False), is_eager=True, expose_value=False,
              callback=from_file, help="A YAML or JSON file with values of the other options.")  # fmt: skip
@click.option("--rate", type=RATE, default=Hyper.rate, show_default=True)
@click.option("--units", type=POSITIVE, default=Hyper.units, show_default=True)
@click.option("--dropout", type=FiniteRange(0, 1, max_open=True), default=Hyper.dropout, show_default=True)
@click.option("--batch", type=POSITIVE, default=Hyper.batch, show_default=True)
@click.option("--epochs", type=POSITIVE, default=5, show_default=True)
@click.option("--data", type=FOLDER, help="Folder of the four .gz files; default: $FLOWTRAIN_DATA/mnist.")
@click.option("--log-dir", default="train_log/sweep-one", show_default=True)
def train(rate, units, dropout, batch, epochs, data, log_dir):
    """Train once."""
    hyper = Hyper(rate, units, dropout, batch)
    click.echo(f"{hyper}: validation error {run(hyper, data, epochs, log_dir):.4f}")


@main.command()
@click.option("--trials", type=POSITIVE, default=20, show_default=True, help="How many trials the study shall have.")
@click.option("--study", default=None, help="Where it is kept, e.g. sqlite:///sweep.db; default: in memory.")
@click.option("--epochs", type=POSITIVE, default=5, show_default=True, help="Of a trial that is not pruned.")
@click.option("--data", type=FOLDER)
@click.option("--log-dir", default="train_log/sweep", show_default=True, help="A folder in it for each trial.")
def search(trials, study, epochs, data, log_dir):
    """Search, and go on with a search where the study is kept."""

    def objective(trial: optuna.Trial) -> float:
        hyper = Hyper(
            rate=trial.suggest_float("rate", 1e-4, 1e-1, log=True),
            units=trial.suggest_int("units", 16, 256, log=True),
            dropout=trial.suggest_float("dropout", 0.0, 0.5),
        )
        pruner = ft.OptunaPruner(trial, monitor="validation_error")
        return run(hyper, data, epochs, Path(log_dir) / f"trial-{trial.number:04d}", pruner)

    found = optuna.create_study(
        study_name="digits", storage=study, load_if_exists=True, direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=0), pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )  # fmt: skip
    ended = [trial for trial in found.trials if trial.state.is_finished()]
    found.optimize(objective, n_trials=max(0, trials - len(ended)))
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in found.trials)
    best = found.best_trial
    click.echo(f"{len(found.trials)} trials, {pruned} pruned; best is trial {best.number}: {best.value:.4f}")
    click.echo(yaml.safe_dump(best.params), nl=False)  # a file for `train --config`


if __name__ == "__main__":
    main()
