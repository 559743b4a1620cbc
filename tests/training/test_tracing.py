"""How build_graph is called: what docs/architecture.md says of it."""

import inspect
from pathlib import Path

import flowtrain
from flowtrain.training import TrainConfig, train

from .helpers import PlainClassifier, Points

PACKAGE = str(Path(flowtrain.__file__).parent)


class Looking(PlainClassifier):
    def __init__(self):
        self.stacks = []

    def build_graph(self, x, side):
        names = [frame.filename for frame in inspect.stack(0)]
        self.stacks.append(names[: names.index(__file__, 1)])  # up to the test, which calls train
        return super().build_graph(x, side)


def test_few_frames_lie_between_train_and_build_graph_and_a_run_traces_it_three_times(tmp_path):
    model = Looking()
    train(TrainConfig(model=model, dataflow=Points(rows=16), max_epoch=1, log_dir=tmp_path / "run"))
    ours = [sum(name.startswith(PACKAGE) for name in stack) for stack in model.stacks]
    assert len(ours) == 3
    assert ours[0] <= 9
    assert max(ours) <= 21  # in the step: one more where it is fetched from
