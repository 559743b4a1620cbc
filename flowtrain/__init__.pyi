from flowtrain.dataflow import imgaug as imgaug
from flowtrain.metrics import mse as mse
from flowtrain.metrics import psnr as psnr
from flowtrain.metrics import ssim as ssim
from flowtrain.utils import FlowtrainError as FlowtrainError

__version__: str
