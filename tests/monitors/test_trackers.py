"""W&B and MLflow through stand-ins that record what they are told."""

import sys
import types
from unittest import mock

import numpy as np
import pytest

from flowtrain.monitors import MLflowMonitor, WandbMonitor
from flowtrain.monitors.monitor import Monitors


@pytest.fixture
def wandb(monkeypatch):
    module = types.ModuleType("wandb")
    module.runs = []

    def init(**arguments):
        run = mock.MagicMock(id=arguments["id"] or "run-1", arguments=arguments)
        module.runs.append(run)
        return run

    module.init, module.Image, module.Histogram = init, mock.MagicMock(), mock.MagicMock()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_wandb_gets_scalars_and_the_run_goes_on(tmp_path, wandb):
    monitors = Monitors([WandbMonitor("proj", offline=True, tags=["t"])], tmp_path)
    monitors.put_event("config", {"lr": 0.1}, 0)
    monitors.put_scalar("cost", 1.0, 3)
    monitors.put_image("picture", np.zeros((1, 2, 2, 3)), 3)
    monitors.put_histogram("weights", np.zeros(4), 3)
    state = monitors.state_dict()
    monitors.close()
    (run,) = wandb.runs
    assert run.arguments["mode"] == "offline" and run.arguments["tags"] == ["t"]
    assert run.arguments["resume"] is None
    assert mock.call({"cost": 1.0}, step=3) in run.log.call_args_list
    run.config.update.assert_called_once()
    run.finish.assert_called_once()

    again = Monitors([WandbMonitor("proj")], tmp_path)
    again.load_state_dict(state)
    again.put_scalar("cost", 1.0, 4)
    assert wandb.runs[-1].arguments["id"] == "run-1"
    assert wandb.runs[-1].arguments["resume"] == "allow"


def test_mlflow_gets_scalars_and_the_run_goes_on(tmp_path, monkeypatch):
    client = mock.MagicMock()
    client.get_experiment_by_name.return_value = None
    client.create_run.return_value.info.run_id = "r1"
    module = types.ModuleType("mlflow")
    module.MlflowClient = mock.MagicMock(return_value=client)
    monkeypatch.setitem(sys.modules, "mlflow", module)

    monitors = Monitors([MLflowMonitor("exp")], tmp_path)
    monitors.put_event("config", {"lr": 0.1}, 0)
    monitors.put_scalar("top:1", 1.0, 3)
    state = monitors.state_dict()
    monitors.close()
    client.log_metric.assert_called_once_with("r1", "top_1", 1.0, step=3)
    client.log_param.assert_called_once_with("r1", "lr", 0.1)
    client.set_terminated.assert_called_once_with("r1", status="FINISHED")

    again = Monitors([MLflowMonitor("exp")], tmp_path)
    again.load_state_dict(state)
    again.put_scalar("cost", 1.0, 4)
    client.update_run.assert_called_once_with("r1", status="RUNNING")
    assert client.create_run.call_count == 1


ENDS = [("finished", "FINISHED", 0), ("failed", "FAILED", 1), ("interrupted", "KILLED", 1)]


@pytest.mark.parametrize("status,in_mlflow,exit_code", ENDS)
def test_trackers_hear_how_the_run_ended(tmp_path, monkeypatch, wandb, status, in_mlflow, exit_code):
    client = mock.MagicMock()
    client.create_run.return_value.info.run_id = "r1"
    module = types.ModuleType("mlflow")
    module.MlflowClient = mock.MagicMock(return_value=client)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monitors = Monitors([MLflowMonitor("exp"), WandbMonitor("proj")], tmp_path)
    monitors.put_scalar("cost", 1.0, 3)
    monitors.put_event("end", {"status": status}, 3)
    monitors.close()
    client.set_terminated.assert_called_once_with("r1", status=in_mlflow)
    wandb.runs[0].finish.assert_called_once_with(exit_code=exit_code)


@pytest.mark.parametrize("monitor,package", [(WandbMonitor("p"), "wandb"), (MLflowMonitor("e"), "mlflow")])
def test_a_missing_package_is_a_warning_that_says_how_to_get_it(tmp_path, monkeypatch, caplog, monitor, package):
    monkeypatch.setitem(sys.modules, package, None)
    monitors = Monitors([monitor], tmp_path)
    monitors.put_scalar("cost", 1.0, 1)
    assert len(caplog.records) == 1
    assert "flowtrain[trackers]" in caplog.text
