"""Conversion of Lab to RGB inside a graph, to show what a model predicts."""

from __future__ import annotations

import tensorflow as tf

from flowtrain.dataflow.sources.lab import AB_SCALE, L_SCALE

__all__ = ["lab_to_rgb"]

# CIE 1931 XYZ (D65 white) -> linear sRGB, IEC 61966-2-1
_XYZ_TO_RGB = [
    [3.2404542, -1.5371385, -0.4985314],
    [-0.9692660, 1.8760108, 0.0415560],
    [0.0556434, -0.2040259, 1.0572252],
]
_WHITE = [0.95047, 1.0, 1.08883]


def lab_to_rgb(luminance: tf.Tensor, ab: tf.Tensor) -> tf.Tensor:
    """Convert scaled Lab components to RGB pictures.

    The inverse of ``rgb_to_luminance`` and ``rgb_to_ab``: L = 50 (luminance + 1), (a, b) = 110 ab. Colours outside
    of sRGB are clipped. The formulas are those of CIE 15:2004 (Lab) and IEC 61966-2-1 (sRGB).

    Args:
        luminance: float (..., H, W, 1) in [-1, 1].
        ab: float (..., H, W, 2) in [-1, 1].

    Returns:
        float32 (..., H, W, 3) in [0, 1].

    Example:
        >>> lab_to_rgb(tf.ones((1, 1, 1)), tf.zeros((1, 1, 2))).numpy().round(2).tolist()
        [[[1.0, 1.0, 1.0]]]
    """
    luminance, ab = tf.cast(luminance, tf.float32), tf.cast(ab, tf.float32)
    y = ((luminance[..., 0] + 1.0) * L_SCALE + 16.0) / 116.0
    x = y + ab[..., 0] * (AB_SCALE / 500.0)
    z = y - ab[..., 1] * (AB_SCALE / 200.0)
    f = tf.stack([x, y, z], axis=-1)
    delta = 6.0 / 29.0  # below it CIE 15 replaces the cube by its tangent, whose slope is finite at black
    xyz = tf.where(f > delta, f**3, 3.0 * delta**2 * (f - 4.0 / 29.0)) * _WHITE
    linear = tf.clip_by_value(tf.linalg.matvec(_XYZ_TO_RGB, xyz), 0.0, 1.0)
    # maximum, because the gradient of pow is infinite at 0, and tf.where multiplies that of its unused side by 0: NaN.
    curved = 1.055 * tf.pow(tf.maximum(linear, 1e-6), 1.0 / 2.4) - 0.055
    return tf.where(linear <= 0.0031308, 12.92 * linear, curved)
