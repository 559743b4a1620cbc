"""OptunaPruner over real studies and a real trainer."""

from __future__ import annotations

import copy
import sys

import optuna
import pytest

from flowtrain.callbacks import Callback, ModelSaver, OptunaPruner
from flowtrain.training import TrainConfig, train
from flowtrain.utils.errors import ConfigError, TrainingError
from flowtrain.utils.optional import MissingPackage

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Score(Callback):
    """Logs numbers, one for each epoch."""

    def __init__(self, values, name="score", every_step=False):
        super().__init__()
        self.values, self.scalar, self.every_step = values, name, every_step
        self.ended = 0

    def trigger_step(self):
        if self.every_step and self.trainer.local_step < self.trainer.steps_per_epoch:
            self.put(100.0 + self.trainer.local_step)

    def trigger_epoch(self):
        if not self.every_step:
            self.put(self.values[self.epoch_num - 1])

    def put(self, value):
        self.trainer.monitors.put_scalar(self.scalar, value, self.global_step)

    def after_train(self):
        self.ended += 1


@pytest.fixture
def run(make_looped):
    def run(*callbacks, **options):
        return make_looped(*callbacks, **{"steps_per_epoch": 4, "max_epoch": 4, **options}).run()

    return run


@pytest.mark.parametrize("first", [True, False])  # the pruner's place in the list does not matter
def test_each_epoch_is_a_step(run, first):
    trial = optuna.create_study(direction="maximize").ask()
    callbacks = [OptunaPruner(trial, "score"), Score([1.0, 3.0, 2.0, 5.0])]
    run(*(callbacks if first else callbacks[::-1]))
    assert trial.study.trials[0].intermediate_values == {1: 1.0, 2: 3.0, 3: 2.0, 4: 5.0}


def test_a_number_of_every_step_counts_once_an_epoch(run):
    trial = optuna.create_study().ask()
    run(OptunaPruner(trial, "score"), Score([], every_step=True))
    assert trial.study.trials[0].intermediate_values == {1: 103.0, 2: 103.0, 3: 103.0}


@pytest.mark.parametrize(("direction", "worse"), [("minimize", 2.0), ("maximize", 0.5)])
def test_a_pruned_trial_ends_whole(direction, worse, tmp_path):
    from ..training.helpers import Classifier, Points

    study = optuna.create_study(direction=direction, pruner=optuna.pruners.ThresholdPruner(lower=0.6, upper=1.5))
    scores = []

    def objective(trial):
        score = Score([1.0, 1.0, 1.0] if trial.number == 0 else [1.0, worse, worse])
        scores.append(score)
        config = TrainConfig(
            model=Classifier(), dataflow=Points(4), max_epoch=3, log_dir=tmp_path / str(trial.number), monitors=[],
            callbacks=[OptunaPruner(trial, "score"), ModelSaver(), score],
        )  # fmt: skip
        return train(config).history["score"][-1][1]

    study.optimize(objective, n_trials=2)
    whole, pruned = study.trials
    assert (whole.state.name, whole.value) == ("COMPLETE", 1.0)
    assert (pruned.state.name, pruned.value) == ("PRUNED", worse)  # Optuna takes the last value
    assert pruned.intermediate_values == {1: 1.0, 2: worse}
    assert [score.ended for score in scores] == [1, 1]
    assert (tmp_path / "1/checkpoints/step-00000008").is_dir()  # that of the epoch in which it was pruned
    config = TrainConfig(
        model=Classifier(), dataflow=Points(4), max_epoch=3, log_dir=tmp_path / "1", monitors=[],
        callbacks=[OptunaPruner(optuna.trial.FixedTrial({}), "score"), ModelSaver(), Score([9.0] * 3)],
    )  # fmt: skip
    assert train(config, resume="auto").global_step == 12  # its checkpoint is whole


def test_what_goes_out_of_training_says_why(run):
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=1.0))
    trial = study.ask()
    with pytest.raises(optuna.TrialPruned, match=r"Optuna pruned trial 0 in epoch 2: score = 3"):
        run(OptunaPruner(trial, "score"), Score([1.0, 3.0, 2.0, 5.0]))


def test_a_number_that_nobody_logs(run):
    with pytest.raises(TrainingError, match=r"nothing logs a scalar 'scor'.*Did you mean 'score'"):
        run(OptunaPruner(optuna.create_study().ask(), "scor"), Score([1.0] * 4))


def test_the_direction_is_the_studys():
    trial = optuna.create_study(direction="maximize").ask()
    assert OptunaPruner(trial, "score").mode == OptunaPruner(trial, "score", mode="max").mode == "max"
    with pytest.raises(ConfigError, match=r"mode='min', but the study has direction=\"maximize\".*mode=\"max\""):
        OptunaPruner(trial, "score", mode="min")
    with pytest.raises(ConfigError, match="studies with one direction"):
        OptunaPruner(optuna.create_study(directions=["minimize", "maximize"]).ask(), "score")
    with pytest.raises(ConfigError, match=r"trial must be the optuna\.Trial"):
        OptunaPruner("validation_error", "score")


def test_a_copy_has_the_same_trial():
    pruner = OptunaPruner(optuna.create_study().ask(), "score")
    assert copy.deepcopy([pruner])[0].trial is pruner.trial


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackage, match=r"pip install 'flowtrain\[sweeps\]'"):
        OptunaPruner(object(), "score")
