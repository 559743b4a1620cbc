"""Structural similarity (SSIM) of pictures.

Zhou Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE
Transactions on Image Processing 13 (4), 2004.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import ConfigError

from ._arrays import Array, check_range, mean, picture_pair

__all__ = ["ssim"]

_K1, _K2 = 0.01, 0.03  # constants of the paper
_GAUSSIAN_SIGMA, _GAUSSIAN_RADIUS = 1.5, 5  # of the paper's 11 x 11 window


@names_arguments
def ssim(
    reference: npt.ArrayLike,
    image: npt.ArrayLike,
    *,
    data_range: float,
    win_size: int = 7,
    gaussian: bool = False,
    per_image: bool = False,
) -> Array:
    """The mean structural similarity: 1.0 for equal pictures, and closer to human perception than PSNR.

    Equals scikit-image's ``structural_similarity`` (with ``channel_axis=-1`` if there are channels): sample
    covariance, and only windows that lie entirely within the picture.

    Args:
        reference: The true picture(s), (H, W), (H, W, C) or (N, H, W, C), NumPy or tensor.
        image: The picture(s) to judge, of the same shape.
        data_range: The distance from black to white: 255 for uint8, 1.0 for [0, 1], 2.0 for [-1, 1].
        win_size: Side of the square window in pixels, odd.
        gaussian: Weight an 11x11 window by a Gaussian of 1.5 pixels, as the paper does, and ignore
            `win_size`.
        per_image: Return one value per picture of a batch (N, H, W, C).

    Returns:
        A float, or with `per_image` an array of shape (N,), computed in float64. For tensors a tensor within
        1e-4 of that (float32, unless an argument is float64).

    Raises:
        ConfigError: The shapes differ, a picture is smaller than the window, the window is even, the rank
            is not 2, 3 or 4, or the range is not a positive number.

    Example:
        >>> picture = np.random.default_rng(0).random((32, 32, 3))
        >>> ssim(picture, picture, data_range=1.0)
        1.0
    """
    peak = check_range(data_range, "ssim")
    true, judged = picture_pair(reference, image, "ssim")
    weights = _gaussian_weights() if gaussian else _uniform_weights(win_size)
    rows = _row_axis(true.shape, len(weights), per_image)

    # Both windows are the product of a column and a row: two passes of n weights instead of one of n * n.
    def blur(values: object) -> Array:
        return _valid_filter(_valid_filter(values, weights, rows), weights, rows + 1)

    # E[x * x] - E[x] ** 2 cancels digits if the mean is large. Variances do not change under a shift, so the mean is
    # subtracted first; float32 tensors need that to stay within 1e-4.
    centre = mean(true, False, "ssim")
    x, y = true - centre, judged - centre
    mean_x, mean_y = blur(x), blur(y)
    samples = len(weights) ** 2
    unbiased = samples / (samples - 1)  # sample covariance, as in scikit-image
    var_x = unbiased * (blur(x * x) - mean_x * mean_x)
    var_y = unbiased * (blur(y * y) - mean_y * mean_y)
    covariance = unbiased * (blur(x * y) - mean_x * mean_y)
    mean_x, mean_y = mean_x + centre, mean_y + centre

    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    luminance = (2.0 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    structure = (2.0 * covariance + c2) / (var_x + var_y + c2)
    return mean(luminance * structure, per_image, "ssim")


def _uniform_weights(win_size: int) -> list[float]:
    if win_size < 3 or win_size % 2 == 0:
        raise ConfigError(f"ssim: win_size={win_size}; expected an odd number of at least 3.")
    return [1.0 / win_size] * win_size


def _gaussian_weights() -> list[float]:
    offsets = np.arange(-_GAUSSIAN_RADIUS, _GAUSSIAN_RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _GAUSSIAN_SIGMA) ** 2)
    return [float(weight) for weight in weights / weights.sum()]


def _row_axis(shape: tuple[int, ...], window: int, per_image: bool) -> int:
    """The axis of the rows; raises unless the rank is right and the window fits."""
    rank = len(shape)
    if rank not in (2, 3, 4) or (per_image and rank != 4):
        wanted = "(N, H, W, C)" if per_image else "(H, W), (H, W, C) or (N, H, W, C)"
        raise ConfigError(f"ssim: the pictures have shape {tuple(shape)}; expected {wanted}.")
    rows = 1 if rank == 4 else 0
    sides = tuple(shape[rows : rows + 2])
    if any(side is not None and side < window for side in sides):
        raise ConfigError(
            f"ssim: pictures of {sides[0]}x{sides[1]} are smaller than the {window}x{window} window. "
            "Give a smaller win_size."
        )
    return rows


def _valid_filter(values: Array, weights: list[float], axis: int) -> Array:
    """Weighted sums over windows along one axis, without padding; by slices, which arrays and tensors both have."""
    last = len(weights) - 1
    # "or None": the last window's slice ends at the end, and an end of 0 would be an empty slice.
    lead = (slice(None),) * axis
    return sum(weight * values[(*lead, slice(start, start - last or None))] for start, weight in enumerate(weights))
