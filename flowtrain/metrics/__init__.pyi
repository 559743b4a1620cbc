"""The public metrics: each is written here once, with its module; ``__init__.py`` serves this list."""

from .classes import BinaryCounts as BinaryCounts
from .classes import confusion_matrix as confusion_matrix
from .classes import top_k_errors as top_k_errors
from .pixels import mse as mse
from .pixels import psnr as psnr
from .pixels import psnr_uint8 as psnr_uint8
from .pixels import to_uint8 as to_uint8
from .structure import ssim as ssim
