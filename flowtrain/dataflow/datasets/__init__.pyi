"""The public data sets: each is written here once, with its module; ``__init__.py`` serves this list."""

from .bsds500 import BSDS500 as BSDS500
from .cifar import Cifar10 as Cifar10
from .cifar import Cifar100 as Cifar100
from .fetch import DownloadError as DownloadError
from .fetch import data_root as data_root
from .ilsvrc import ILSVRC12 as ILSVRC12
from .ilsvrc import ILSVRC12Files as ILSVRC12Files
from .ilsvrc import ILSVRCMeta as ILSVRCMeta
from .mnist import FashionMnist as FashionMnist
from .mnist import Mnist as Mnist
from .mnist import read_idx as read_idx
from .svhn import SVHNDigit as SVHNDigit
