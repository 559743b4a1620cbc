"""Well-known data sets: read from ``$FLOWTRAIN_DATA``, downloaded where they are missing and may be."""

from .bsds500 import BSDS500
from .cifar import Cifar10, Cifar100
from .fetch import DownloadError, data_root
from .ilsvrc import ILSVRC12, ILSVRC12Files, ILSVRCMeta
from .mnist import FashionMnist, Mnist, read_idx
from .svhn import SVHNDigit

__all__ = [
    "BSDS500",
    "Cifar10",
    "Cifar100",
    "DownloadError",
    "FashionMnist",
    "ILSVRC12",
    "ILSVRC12Files",
    "ILSVRCMeta",
    "Mnist",
    "SVHNDigit",
    "data_root",
    "read_idx",
]
