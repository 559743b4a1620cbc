"""Changes of pictures that make more of the data: crops, flips, warps, colours, noise.

Every augmentor draws from a generator that it is given and returns a transform that can be applied to the
picture, to its label map and to points in it; see :class:`Augmentor` and :class:`Transform`. Coordinates
count from the centre of the top left pixel, x before y; sizes are (height, width), or one int for both.

An own augmentor is five lines; it draws from ``rng`` alone, so that the data are the same in every run::

    class Darken(imgaug.Augmentor):
        def get_transform(self, img, rng):
            factor = rng.uniform(0.5, 1.0)
            return imgaug.FunctionTransform(lambda img: np.rint(img * factor).astype(img.dtype))

A function without randomness is ``imgaug.MapImage(function)``.

What holds for all of them:

* A picture is a NumPy array (H, W), (H, W, 1), (H, W, 3) in RGB order or (H, W, 4) with alpha, of uint8 or of
  float32 on the same scale of 0 to 255. A channel axis is never lost and never added unasked.
* uint8 in, uint8 out, unless the name says otherwise; values are rounded and then limited to 0..255.
* What moves pixels takes any number of channels, and uint16, int16 and float64 too. What changes values leaves a
  fourth channel, alpha, alone.
* The picture that is given is never written to; the result may be a view of it.
* A mistake in an argument is a ConfigError when the augmentor is made; a picture that does not fit is a
  DataFlowError that names the augmentor, what was given and what was expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowtrain.utils.arguments import missing_name

from .adapters import Albumentations
from .augmentor import (
    Augmentor,
    FunctionTransform,
    GeometricTransform,
    IdentityTransform,
    PixelTransform,
    Transform,
    TransformList,
)
from .color import Hue, Lighting, Saturation
from .convert import ColorSpace, Grayscale, ToFloat32, ToUint8
from .crop import CenterCrop, RandomCrop, RandomCropRandomShape
from .cutout import RandomCutout, RandomResizedCrop
from .flip import Flip, Transpose
from .meta import AugmentorList, Identity, MapImage, RandomApplyAug, RandomChooseAug, RandomOrderAug
from .noise import GaussianBlur, GaussianNoise, JpegNoise, PoissonNoise, SaltPepperNoise
from .paste import (
    BackgroundFiller,
    CenterPaste,
    ConstantBackgroundFiller,
    NoiseBackgroundFiller,
    RandomColorBackgroundFiller,
    RandomPaste,
)
from .resize import RandomResize, Resize, ResizeShortestEdge
from .tone import Brightness, BrightnessScale, Clip, Contrast, Gamma, MeanVarianceNormalize, MinMaxNormalize
from .warp import Affine, Rotation, RotationAndCropValid, Shift

__all__ = [
    "Affine",
    "Albumentations",
    "Augmentor",
    "AugmentorList",
    "BackgroundFiller",
    "Brightness",
    "BrightnessScale",
    "CenterCrop",
    "CenterPaste",
    "Clip",
    "ColorSpace",
    "ConstantBackgroundFiller",
    "Contrast",
    "Flip",
    "FunctionTransform",
    "Gamma",
    "GaussianBlur",
    "GaussianNoise",
    "GeometricTransform",
    "Grayscale",
    "Hue",
    "Identity",
    "IdentityTransform",
    "JpegNoise",
    "Lighting",
    "MapImage",
    "MeanVarianceNormalize",
    "MinMaxNormalize",
    "NoiseBackgroundFiller",
    "PixelTransform",
    "PoissonNoise",
    "RandomApplyAug",
    "RandomChooseAug",
    "RandomColorBackgroundFiller",
    "RandomCrop",
    "RandomCropRandomShape",
    "RandomCutout",
    "RandomOrderAug",
    "RandomPaste",
    "RandomResize",
    "RandomResizedCrop",
    "Resize",
    "ResizeShortestEdge",
    "Rotation",
    "RotationAndCropValid",
    "Saturation",
    "SaltPepperNoise",
    "Shift",
    "ToFloat32",
    "ToUint8",
    "Transform",
    "TransformList",
    "Transpose",
]

_OLD_NAMES = {
    "GoogleNetRandomCropAndResize": "RandomResizedCrop",
    "ImageAugmentor": "Augmentor",
    "PhotometricAugmentor": "Augmentor with a PixelTransform",
    "TransformFactory": "FunctionTransform",
    "IAAugmentor": "MapImage",
    "Albumentation": "Albumentations",
}


if not TYPE_CHECKING:  # a type checker that sees it takes any name for one of ours

    def __getattr__(name: str) -> object:
        raise missing_name("flowtrain.dataflow.imgaug", name, __all__, _OLD_NAMES)
