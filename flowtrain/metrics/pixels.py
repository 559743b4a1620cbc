"""Mean square error and peak signal-to-noise ratio of pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import ConfigError

from ._arrays import Array, check_range, is_tensor, log10, mean, picture_pair

__all__ = ["mse", "psnr", "psnr_uint8", "to_uint8"]


@names_arguments
def mse(reference: npt.ArrayLike, image: npt.ArrayLike, *, per_image: bool = False) -> Array:
    """The mean square error of two pictures, or of two batches of pictures.

    Integers are converted to floats first, so the differences of uint8 pictures do not wrap around.

    Args:
        reference: The true picture(s), any shape, NumPy or tensor.
        image: The picture(s) to judge, of the same shape.
        per_image: Return one value per entry of the first axis instead of one for all.

    Returns:
        A float, or with `per_image` an array of shape (N,), computed in float64. For tensors a tensor,
        computed in float32 unless an argument is float64.

    Raises:
        ConfigError: The shapes differ, or a picture is empty.

    Example:
        >>> mse(np.zeros((4, 4), np.uint8), np.full((4, 4), 2, np.uint8))
        4.0
    """
    true, judged = picture_pair(reference, image, "mse")
    return mean((true - judged) ** 2, per_image, "mse")


@names_arguments
def psnr(reference: npt.ArrayLike, image: npt.ArrayLike, *, data_range: float, per_image: bool = False) -> Array:
    """The peak signal-to-noise ratio in dB: ``10 log10(data_range**2 / mse)``.

    Equals scikit-image's ``peak_signal_noise_ratio``. `data_range` has no default on purpose: guessed
    from the dtype it is wrong by 48 dB for float pictures in [0, 255].

    Args:
        reference: The true picture(s), any shape, NumPy or tensor.
        image: The picture(s) to judge, of the same shape.
        data_range: The distance from black to white: 255 for uint8, 1.0 for [0, 1], 2.0 for [-1, 1].
        per_image: Return one value per entry of the first axis. The mean of the pictures' dB is not the dB of
            the whole batch, and papers mostly mean the former: ``psnr(..., per_image=True).mean()``.

    Returns:
        dB as a float, or with `per_image` an array of shape (N,); infinite for equal pictures. For tensors
        a tensor, within 1e-4 dB of the float64 value.

    Raises:
        ConfigError: The shapes differ, a picture is empty, or the range is not a positive number.

    Example:
        >>> round(psnr(np.zeros((4, 4)), np.full((4, 4), 0.1), data_range=1.0), 6)
        20.0
    """
    peak = check_range(data_range, "psnr")
    true, judged = picture_pair(reference, image, "psnr")
    error = mean((true - judged) ** 2, per_image, "psnr")
    # Not log10(peak ** 2 / error): equal pictures have an error of 0, and then no division by zero.
    return 20.0 * float(np.log10(peak)) - 10.0 * log10(error)


@names_arguments
def to_uint8(image: npt.ArrayLike, *, low: float = 0.0, high: float = 1.0) -> Array:
    """Convert a float picture to 8 bits, as for a file: scaled, rounded to the nearest level, clipped.

    Args:
        image: Picture(s) of any shape, in which `low` is black and `high` is white, NumPy or tensor.
        low: The value of black.
        high: The value of white.

    Returns:
        uint8, of the same shape; a tensor for a tensor.

    Raises:
        ConfigError: `high` is not above `low`.

    Example:
        >>> to_uint8(np.array([-0.5, 0.0, 0.7]), low=-0.5, high=0.5)
        array([  0, 128, 255], dtype=uint8)
    """
    if not low < high:
        raise ConfigError(f"to_uint8: low={low!r} must be below high={high!r}.")
    if is_tensor(image):
        import tensorflow as tf

        tensor = tf.convert_to_tensor(image)
        tensor = tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)
        scaled = (tensor - low) * (255.0 / (high - low)) + 0.5  # the cast truncates: + 0.5 makes that rounding
        return tf.cast(tf.clip_by_value(scaled, 0.0, 255.0), tf.uint8)
    scaled = (np.asarray(image, np.float64) - low) * (255.0 / (high - low)) + 0.5
    return np.clip(scaled, 0.0, 255.0).astype(np.uint8)


@names_arguments
def psnr_uint8(reference: npt.ArrayLike, image: npt.ArrayLike, *, low: float = 0.0, high: float = 1.0) -> Array:
    """The PSNR of two float pictures after rounding both to 8 bits, as if they were read from files.

    Denoising papers report this figure: clipping and rounding change it by some tenths of a dB.

    Args:
        reference: The true picture, any shape, float with black `low` and white `high`; uint8 is not converted.
        image: The picture to judge, of the same shape.
        low: The value of black.
        high: The value of white.

    Returns:
        dB over all pixels, as `psnr` with ``data_range=255``. For a batch call it per picture and take the mean.

    Raises:
        ConfigError: The shapes differ, or `high` is not above `low`.

    Example:
        >>> clean = np.linspace(-0.5, 0.5, 100).reshape(10, 10)
        >>> round(psnr_uint8(clean, clean + 0.1, low=-0.5, high=0.5), 1)
        20.3
    """
    levels = [
        value if getattr(value, "dtype", None) == np.uint8 else to_uint8(value, low=low, high=high)
        for value in (reference, image)
    ]
    return psnr(levels[0], levels[1], data_range=255)
