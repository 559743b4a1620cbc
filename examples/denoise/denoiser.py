"""A denoiser that is trained, saved, loaded from elsewhere, and called on NumPy pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from network import DenoiseModel, dncnn

import flowtrain as ft

METRICS = ("PSNR", "SSIM", "MSE")


class Denoiser:
    """A network with what is done to it.

    Args:
        network: A function from a tensor float (B, H, W, channels) to one of the same shape.
        channels: 1 for gray, 3 for colour.

    Example:
        >>> denoiser = Denoiser(dncnn)                                        # doctest: +SKIP
        >>> denoiser.train(clean_patches("photos/train", gaussian(25)), ...)  # doctest: +SKIP
        >>> clean = denoiser(noisy)                                           # doctest: +SKIP
    """

    def __init__(self, network=dncnn, channels: int = 1) -> None:
        self.network, self.channels = network, channels
        self._predict = None

    @classmethod
    def load(
        cls, path: str, inputs: str = "noisy", outputs: str = "denoised", network=None, channels: int = 1, **fixed
    ):
        """Take a model from a file: a SavedModel, a frozen graph, a TF1 `.meta` checkpoint, a `.keras` file.

        Args:
            path: The file or folder. A checkpoint or run of flowtrain holds weights alone: it needs `network` too.
            inputs: Name of the input.
            outputs: Name of the output.
            network: The function that made the model.
            channels: Of its pictures, with `network`.
            **fixed: Values of further inputs, e.g. ``is_training=False`` for many graphs of TensorFlow 1.
        """
        denoiser = cls(network, channels)
        if network is None:
            predict = ft.load_predictor(path, [inputs, *fixed], [outputs])
            denoiser._predict = partial(_with, predict, tuple(fixed.values())) if fixed else predict
        else:
            config = ft.PredictConfig(DenoiseModel(network, channels), path, [inputs], [outputs])
            denoiser._predict = ft.OfflinePredictor(config)
        return denoiser

    def train(
        self,
        data: ft.DataFlow,
        valid: ft.DataFlow | None = None,
        n_epochs: int = 100,
        n_stages: int | None = 500,
        learning_rate: float = 1e-3,
        optimizer: str = "adam",
        loss: str = "mse",
        metrics: Sequence[str] = METRICS,
        valid_steps: int | None = None,
        log_dir: str | None = None,
        resume: str | None = None,
        milestones: tuple[int, int] = (30, 60),
    ):
        """Train on batches of [noisy, clean]; the rate is divided by 10 after epoch 30, by 20 after epoch 60.

        Args:
            data: Batches, float32 (B, h, w, channels) in [0, 1].
            valid: The same, to validate on; the checkpoint with the best PSNR on it is kept as `best`.
            n_epochs: How many epochs.
            n_stages: Steps of an epoch; None: as many as `data` has.
            learning_rate: At the start.
            optimizer: The name of a Keras optimizer.
            loss: "mse" or "mae".
            metrics: What validation reports, some of METRICS, as `validation_PSNR` and so on.
            valid_steps: How many batches of `valid` to use; None: all.
            log_dir: The run's folder; None: a new one.
            resume: "auto" goes on with the run in `log_dir`.
            milestones: Other epochs than 30 and 60, for a shorter training.

        Returns:
            The trainer: its `history` holds the curves.
        """
        callbacks: list[ft.Callback] = [
            ft.ModelSaver(),
            ft.ScheduledHyperParamSetter(
                "learning_rate",
                [(0, learning_rate), (milestones[0], learning_rate / 10), (milestones[1], learning_rate / 20)],
            ),
        ]
        if valid is not None:
            valid = valid if valid_steps is None else ft.TakeData(valid, valid_steps)
            callbacks += [
                ft.InferenceRunner(valid, [ft.ScalarStats(list(metrics))]),
                ft.MaxSaver("validation_PSNR", name="best"),
            ]
        trainer = ft.train(
            ft.TrainConfig(
                model=DenoiseModel(self.network, self.channels, loss, optimizer, learning_rate),
                dataflow=data,
                callbacks=callbacks,
                steps_per_epoch=n_stages,
                max_epoch=n_epochs,
                log_dir=log_dir or ft.auto_set_dir("denoise", resume is not None),
            ),
            resume=resume,
        )
        self._predict = trainer.get_predictor(["noisy"], ["denoised"])
        return trainer

    def __call__(self, noisy: np.ndarray) -> np.ndarray:
        """Denoise a picture float (H, W, channels), or a batch of them, in [0, 1]."""
        if self._predict is None:
            raise ft.FlowtrainError("this denoiser has no weights yet: call train, or make it with Denoiser.load")
        batch = noisy if noisy.ndim == 4 else noisy[None]
        (clean,) = self._predict(np.ascontiguousarray(batch, np.float32))
        clean = np.clip(np.asarray(clean), 0, 1)
        return clean if noisy.ndim == 4 else clean[0]


def _with(predict, fixed: tuple, batch: np.ndarray):
    return predict(batch, *fixed)
