"""Image augmentation: crops, flips, warps, colours, noise.

An augmentor draws its random numbers from a generator that it is given and returns a transform, which can be applied
to the picture, to its label map and to points in it; see :class:`Augmentor` and :class:`Transform`. A point is (x, y)
in pixels, and (0, 0) is the centre of the top left pixel; a size is (height, width), or one int for both.

An augmentor of your own takes five lines. It draws from ``rng`` alone, so that every run gives the same data::

    class Darken(imgaug.Augmentor):
        def get_transform(self, img, rng):
            factor = rng.uniform(0.5, 1.0)
            return imgaug.FunctionTransform(lambda img: np.rint(img * factor).astype(img.dtype))

A function without randomness is ``imgaug.MapImage(function)``.

These rules hold for all augmentors:

* A picture is a NumPy array (H, W), (H, W, 1), (H, W, 3) in RGB order or (H, W, 4) with alpha, of uint8 or of
  float32 on the same scale of 0 to 255. A channel axis is never lost and never added unasked.
* uint8 in, uint8 out, unless the name says otherwise; values are rounded and then limited to 0..255.
* An augmentor that moves pixels takes any number of channels, and uint16, int16 and float64 too. One that changes
  values leaves a fourth channel, alpha, as it is.
* The given picture is never written to; the result may be a view of it.
* A mistake in an argument is a ConfigError when the augmentor is made; a picture that does not fit is a
  DataFlowError that names the augmentor, what was given and what was expected.
"""

from flowtrain.utils.lazy_names import lazy_names

_OLD_NAMES = {
    "GoogleNetRandomCropAndResize": "RandomResizedCrop",
    "ImageAugmentor": "Augmentor",
    "PhotometricAugmentor": "Augmentor with a PixelTransform",
    "TransformFactory": "FunctionTransform",
    "IAAugmentor": "MapImage",
    "Albumentation": "Albumentations",
    "ColorJitter": "Brightness, Contrast, Saturation and Hue, one after the other",
    "Compose": "AugmentorList",
    "CoarseDropout": "RandomCutout",
    "HorizontalFlip": "Flip(horiz=True)",
    "Normalize": "MeanVarianceNormalize, or MinMaxNormalize",
    "RandomErasing": "RandomCutout",
    "RandomHorizontalFlip": "Flip(horiz=True)",
    "RandomRotate": "Rotation",
    "RandomVerticalFlip": "Flip(vert=True)",
    "VerticalFlip": "Flip(vert=True)",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__, _OLD_NAMES)
