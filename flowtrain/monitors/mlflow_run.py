"""Monitor that logs to MLflow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flowtrain.utils.optional import require

from .monitor import Monitor

__all__ = ["MLflowMonitor"]

_LONGEST = 6000  # characters of a parameter; mlflow.utils.validation.MAX_PARAM_VAL_LENGTH
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MLflowMonitor(Monitor):
    """Sends scalars and the config to MLflow, no pictures.

    Needs ``pip install 'flowtrain[trackers]'``. A resumed run goes on in the same MLflow run, where steps that
    are done again are logged a second time with the same values.

    Args:
        experiment: Name of the experiment; made if missing.
        tracking_uri: URI of the server or folder; None: a SQLite file ``mlflow.db`` in the run's folder.
        run_name: Name of the MLflow run; None: the name of the run's folder.

    Example:
        >>> MLflowMonitor("colorize", tracking_uri="http://localhost:5000").experiment
        'colorize'
    """

    def __init__(self, experiment: str, tracking_uri: str | None = None, run_name: str | None = None) -> None:
        self.experiment, self.tracking_uri, self.run_name = experiment, tracking_uri, run_name
        self._run_id: str | None = None
        self._begun = False
        self._status = "FINISHED"

    def open(self, log_dir: Path) -> None:
        mlflow = require("mlflow", extra="trackers", needed_for="MLflowMonitor")
        uri = self.tracking_uri or f"sqlite:///{log_dir.resolve() / 'mlflow.db'}"
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self.run_name = self.run_name or log_dir.name

    def put_scalar(self, name: str, value: float, step: int) -> None:
        self._client.log_metric(self._run(), _allowed(name), value, step=step)

    def put_event(self, kind: str, content: dict[str, Any], step: int) -> None:
        if kind == "config" and self._run_id is None:  # MLflow refuses to change a parameter
            for name, value in content.items():
                self._client.log_param(self._run(), _allowed(name), _shortened(value))
        elif kind == "end":
            self._status = _STATUS[content["status"]]

    def close(self) -> None:
        if self._begun:
            self._client.set_terminated(self._run_id, status=self._status)
            self._begun = False

    def state_dict(self) -> dict[str, Any]:
        return {"run_id": self._run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["run_id"] != self._run_id:
            self.close()
        self._run_id = state["run_id"]

    def _run(self) -> str:
        """The id of the MLflow run, begun with the first value: until then `load_state_dict` may name an older run."""
        run_id = self._run_id
        if run_id is None:
            found = self._client.get_experiment_by_name(self.experiment)
            experiment = found.experiment_id if found else self._client.create_experiment(self.experiment)
            run_id = self._client.create_run(experiment, run_name=self.run_name).info.run_id
        elif not self._begun:
            self._client.update_run(run_id, status="RUNNING")
        self._run_id, self._begun = run_id, True
        return run_id


def _allowed(name: str) -> str:
    """The name with "_" for what MLflow refuses in names of metrics and parameters."""
    return re.sub(r"[^\w\-./ ]", "_", name)


def _shortened(value: object) -> object:
    """A parameter cut to the 6000 characters that MLflow takes: a longer one would end the whole monitor."""
    return value if len(str(value)) <= _LONGEST else f"{str(value)[: _LONGEST - 3]}..."
