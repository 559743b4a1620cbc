"""Changes of pictures that make more of the data: crops, flips, warps, colours, noise.

Every augmentor draws from a generator that it is given and returns a transform that can be applied to the
picture, to its label map and to points in it; see :class:`Augmentor` and :class:`Transform`.

What holds for all of them:

* A picture is a NumPy array (H, W), (H, W, 1), (H, W, 3) in RGB order or (H, W, 4) with alpha, of uint8 or of
  float32 on the same scale of 0 to 255. A channel axis is never lost and never added unasked.
* uint8 in, uint8 out, unless the name says otherwise; values are rounded and then limited to 0..255.
* What moves pixels takes any number of channels. What changes values leaves alpha alone.
* The picture that is given is never written to; the result may be a view of it.
"""

from __future__ import annotations

from .base import Augmentor, FunctionTransform, GeometricTransform, PixelTransform, Transform, TransformList
from .crop import CenterCrop, RandomCrop, RandomCropRandomShape
from .flip import Flip, Transpose
from .meta import AugmentorList, Identity, MapImage, RandomApplyAug, RandomChooseAug, RandomOrderAug
from .resize import RandomResize, Resize, ResizeShortestEdge

__all__ = [
    "Augmentor",
    "AugmentorList",
    "CenterCrop",
    "Flip",
    "FunctionTransform",
    "GeometricTransform",
    "Identity",
    "MapImage",
    "PixelTransform",
    "RandomApplyAug",
    "RandomChooseAug",
    "RandomCrop",
    "RandomCropRandomShape",
    "RandomOrderAug",
    "RandomResize",
    "Resize",
    "ResizeShortestEdge",
    "Transform",
    "TransformList",
    "Transpose",
]
