"""Measures of how good a result is: for pictures and for classes, on NumPy arrays and on tensors.

Importing this package does not import TensorFlow.
"""

from .classes import BinaryCounts, confusion_matrix, top_k_errors
from .pixels import mse, psnr, psnr_uint8, to_uint8
from .structure import ssim

__all__ = [
    "BinaryCounts",
    "confusion_matrix",
    "mse",
    "psnr",
    "psnr_uint8",
    "ssim",
    "to_uint8",
    "top_k_errors",
]
