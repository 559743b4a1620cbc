"""Denoiser: a network that can be trained, loaded from several kinds of files, and called on NumPy pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from network import METRICS, DenoiseModel, DnCNN, dncnn, named

import flowtrain as ft

AVERAGE_DECAY = 0.999  # of the weights' moving average: over some 1,000 steps


class Denoiser:
    """A denoising network with its training and its weights; call it on pictures.

    Args:
        network: A function from a tensor float (B, H, W, channels) to one of the same shape.
        channels: 1 for gray, 3 for colour.
        name: Shown by `str()`; None: the network's name.

    Example:
        >>> denoiser = Denoiser(dncnn)                                        # doctest: +SKIP
        >>> denoiser.train(clean_patches("photos/train", gaussian(25)), ...)  # doctest: +SKIP
        >>> clean = denoiser(noisy)                                           # doctest: +SKIP
    """

    def __init__(self, network=dncnn, channels: int = 1, name: str | None = None) -> None:
        self.network, self.channels = network, channels
        self.name = name or getattr(network, "__name__", None) or str(network)
        self._predict = None

    def __str__(self) -> str:
        return f"{self.name}, {'gray' if self.channels == 1 else 'colour'}"

    @classmethod
    def load(
        cls, path: str, inputs: str = "noisy", outputs: str = "denoised", network=None, channels: int = 1, **fixed
    ):
        """Load a model from a file: a SavedModel, a frozen graph, a TF1 `.meta` checkpoint, a `.keras` file.

        If the model's pictures have their channels first, inputs and outputs are transposed.

        Args:
            path: The file or folder. A checkpoint or run of flowtrain holds weights alone and needs `network` too.
            inputs: Name of the input.
            outputs: Name of the output.
            network: The function that the model was built with.
            channels: With `network`: 1 for gray, 3 for colour.
            **fixed: Values of further inputs, e.g. ``is_training=False`` for many graphs of TensorFlow 1.
        """
        denoiser = cls(network, channels, name=Path(path).name)
        if network is None:
            predict = ft.load_predictor(path, [inputs, *fixed], [outputs])
            shape = predict.specs[0].shape
            first = shape.rank == 4 and shape[1] in (1, 3) and shape[-1] not in (1, 3)
            denoiser.channels = (shape[1] if first else shape[-1]) or 1
            denoiser._predict = partial(_with, predict, tuple(fixed.values()), first)
        else:
            averaged = "average/steps" in ft.read_checkpoint(path)
            model = DenoiseModel(network, channels, average_decay=AVERAGE_DECAY if averaged else None)
            config = ft.PredictConfig(model, path, [inputs], [outputs], averaged=averaged)
            denoiser._predict = ft.OfflinePredictor(config)
        return denoiser

    @classmethod
    def of_run(cls, path: str):
        """The denoiser of a run of this script, or of a checkpoint; the network's size follows from the weights."""
        network, channels = DnCNN.like(ft.read_checkpoint(path))
        return cls.load(path, network=network, channels=channels)

    def train(
        self,
        data: ft.DataFlow,
        valid: ft.DataFlow | None = None,
        n_epochs: int = 100,
        n_stages: int | None = 500,
        learning_rate: float = 1e-3,
        optimizer="adam",
        loss="mse",
        metrics: Sequence = tuple(METRICS),
        valid_steps: int | None = None,
        log_dir: str | None = None,
        resume: str | None = None,
        milestones: tuple[int, int] = (30, 60),
        schedule=None,
        callbacks: Sequence[ft.Callback] = (),
        monitor: str | None = None,
        mode: str | None = None,
        average: bool = False,
    ):
        """Train on batches of [noisy, clean]; the rate is divided by 10 after epoch 30, by 20 after epoch 60.

        Args:
            data: Batches, float32 (B, h, w, channels) in [0, 1].
            valid: Batches to validate on; the best checkpoint is kept as `best`.
            n_epochs: Number of epochs.
            n_stages: Steps of an epoch; None: as many as `data` has batches.
            learning_rate: The initial one.
            optimizer: The name of a Keras optimizer, an optimizer or its class.
            loss: "mse", "mae", or a function of the tensors (clean, denoised).
            metrics: Metrics of the validation, logged as `validation_PSNR` and so on: names in METRICS, or functions of
                the tensors (clean, denoised), in [0, 1].
            valid_steps: How many batches of `valid` to use; None: all.
            log_dir: The run's folder; None: a new one.
            resume: "auto" resumes the run in `log_dir`.
            milestones: Other epochs than 30 and 60, for a shorter training.
            schedule: Replaces these steps: the learning rate as a function of the number of finished epochs.
            callbacks: Further callbacks.
            monitor: The metric by which a checkpoint is best; None: the first.
            mode: "max" or "min" of it; None: "min" for MSE and the loss, "max" for others.
            average: Keep moving averages of the weights, and predict with them.

        Returns:
            The trainer: its `history` holds the curves.
        """
        steps = [(0, learning_rate), (milestones[0], learning_rate / 10), (milestones[1], learning_rate / 20)]
        found: list[ft.Callback] = [ft.ModelSaver(), ft.ScheduledHyperParamSetter("learning_rate", schedule or steps)]
        if valid is not None:
            valid = valid if valid_steps is None else ft.TakeData(valid, valid_steps)
            found += self._validation(valid, [named(metric, METRICS, "metric")[0] for metric in metrics], monitor, mode)
        decay = AVERAGE_DECAY if average else None
        trainer = ft.train(
            ft.TrainConfig(
                model=DenoiseModel(self.network, self.channels, loss, optimizer, learning_rate, metrics, decay),
                dataflow=data,
                callbacks=[*found, *callbacks],
                steps_per_epoch=n_stages,
                max_epoch=n_epochs,
                log_dir=log_dir or ft.auto_set_dir("denoise", resume is not None),
            ),
            resume=resume,
        )
        if average:
            self._predict = Denoiser.load(str(trainer.log_dir), network=self.network, channels=self.channels)._predict
        else:
            self._predict = trainer.get_predictor(["noisy"], ["denoised"])
        return trainer

    def _validation(self, valid, metrics, monitor, mode) -> list[ft.Callback]:
        """Callbacks that validate, show pictures, and keep the best checkpoint."""
        names = ["loss", *metrics]
        monitor = monitor or (metrics[0] if metrics else "loss")
        if monitor not in names:
            raise ft.FlowtrainError(f"monitor is {monitor!r}; there are {', '.join(names)}")
        least = (mode or ("min" if monitor in ("MSE", "loss") else "max")) == "min"
        best = (ft.MinSaver if least else ft.MaxSaver)(f"validation_{monitor}", name="best")
        return [ft.InferenceRunner(valid, [ft.ScalarStats(names)]), ShowPictures(valid), best]

    def __call__(self, noisy: np.ndarray) -> np.ndarray:
        """Denoise a picture float (H, W, channels), or a batch of them, in [0, 1]."""
        if self._predict is None:
            raise ft.FlowtrainError("this denoiser has no weights yet: call train, or make it with Denoiser.load")
        if noisy.ndim not in (3, 4) or noisy.shape[-1] != self.channels:
            raise ft.FlowtrainError(
                f"{self} takes float (H, W, {self.channels}) or a batch of them; got {noisy.dtype} {noisy.shape}"
            )
        batch = noisy if noisy.ndim == 4 else noisy[None]
        (clean,) = self._predict(np.ascontiguousarray(batch, np.float32))
        clean = np.clip(np.asarray(clean), 0, 1)
        return clean if noisy.ndim == 4 else clean[0]


class ShowPictures(ft.Callback):
    """Logs the first validation pictures after each epoch, noisy, clean and denoised side by side.

    Args:
        valid: Batches of [noisy, clean].
        most: How many pictures to log.
        crop: Greatest height and width: of larger pictures the middle is shown.
    """

    def __init__(self, valid: ft.DataFlow, most: int = 3, crop: int = 256) -> None:
        self.valid, self.most, self.crop = valid, most, crop
        super().__init__()

    def setup_graph(self):
        self.predictor = self.trainer.get_predictor(["noisy"], ["denoised"])
        self.pairs = [[self._middle(picture) for picture in pair] for pair in ft.TakeData(self.valid, self.most)]

    def _middle(self, batch: np.ndarray) -> np.ndarray:
        top, left = (max(size - self.crop, 0) // 2 for size in batch.shape[1:3])
        return batch[:1, top : top + self.crop, left : left + self.crop]

    def trigger_epoch(self):
        for number, (noisy, clean) in enumerate(self.pairs):
            sides = [noisy, clean, np.asarray(self.predictor(noisy)[0])]
            picture = np.clip(np.concatenate(sides, axis=2), 0, 1)
            self.trainer.monitors.put_image(f"validation/{number}", picture, self.global_step)


def _with(predict, fixed: tuple, channels_first: bool, batch: np.ndarray):
    """Call a loaded model, with fixed values for its further inputs and with the axes in its order."""
    if not channels_first:
        return predict(batch, *fixed)
    (clean,) = predict(np.ascontiguousarray(np.moveaxis(batch, -1, 1)), *fixed)
    return [np.moveaxis(np.asarray(clean), 1, -1)]
