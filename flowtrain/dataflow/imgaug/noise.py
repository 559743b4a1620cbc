"""Blur, JPEG compression, and Gaussian, Poisson, salt and pepper noise.

A noise transform holds the seed of its noise, not the noise: it is small, and gives the same noise each time it is
applied.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np
import simplejpeg

from flowtrain.utils.errors import ConfigError, DataFlowError

from .arithmetic import as_rows, limit, to_uint8
from .augmentor import Augmentor, IdentityTransform, PixelTransform, Transform
from .checks import as_int_range, as_number, as_prob, as_range, draw_int, draw_uniform

__all__ = ["GaussianBlur", "GaussianNoise", "JpegNoise", "PoissonNoise", "SaltPepperNoise"]

Bounds = tuple[float, float]


def draw_seed(rng: np.random.Generator) -> int:
    """Draw a seed for :func:`noise_stream`: 63 bits, so that two pictures of a run never share their noise."""
    return int(rng.integers(2**63))


def noise_stream(seed: int) -> np.random.Generator:
    """The random generator of one transform's noise: SFC64, the fastest of NumPy's."""
    return np.random.Generator(np.random.SFC64(seed))


@dataclass(eq=False)
class GaussianBlurTransform(PixelTransform):
    """Blur with a Gaussian kernel; the picture is mirrored at its borders."""

    width: int
    height: int
    sigma_x: float
    sigma_y: float

    channels = None
    touches_alpha = True

    def change(self, img: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(
            img, (self.width, self.height), self.sigma_x, sigmaY=self.sigma_y, borderType=cv2.BORDER_REFLECT_101
        )


class GaussianBlur(Augmentor):
    """Blur with a Gaussian kernel of random size.

    Args:
        size_range: (lowest, highest) radius of the kernel in pixels; a radius r gives a kernel of 2 r + 1.
        sigma_range: (lowest, highest) standard deviation in pixels. 0 lets OpenCV derive it from the kernel's size.
        symmetric: Whether both axes share one draw of radius and standard deviation.
    """

    def __init__(
        self, size_range: tuple[int, int] = (0, 2), sigma_range: Bounds = (0.0, 0.0), symmetric: bool = True
    ) -> None:
        self.size_range = as_int_range(size_range, self, "size_range", 0)
        self.sigma_range = as_range(sigma_range, self, "sigma_range", 0.0)
        self.symmetric = bool(symmetric)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> Transform:
        """Draw the kernel's radius and standard deviation."""
        size_x, sigma_x = self._draw(rng)
        size_y, sigma_y = (size_x, sigma_x) if self.symmetric else self._draw(rng)
        if size_x == size_y == 1:  # a kernel of one pixel
            return IdentityTransform()
        return GaussianBlurTransform(size_x, size_y, sigma_x, sigma_y)

    def _draw(self, rng: np.random.Generator) -> tuple[int, float]:
        return 2 * draw_int(rng, *self.size_range) + 1, draw_uniform(rng, self.sigma_range)


@dataclass(eq=False)
class JpegNoiseTransform(PixelTransform):
    """Compress to JPEG and decompress."""

    quality: int

    def change(self, img: np.ndarray) -> np.ndarray:
        """Compress and decompress; floats are rounded to uint8 first.

        Raises:
            DataFlowError: A float picture has fractions and no value above 1: its scale is 0 to 1, of which rounding
                would leave black and white.
        """
        if img.dtype != np.uint8 and img.size:
            low, high = np.fmin.reduce(img, axis=None), np.fmax.reduce(img, axis=None)  # max() of NaN and 1 is NaN
            if high <= 1 and (img != np.rint(img)).any():
                raise DataFlowError(
                    f"JpegNoise: expected values from 0 to 255, got a {img.dtype} picture from {low:.3g} to "
                    f"{high:.3g}, of which JPEG would leave black and white. Put JpegNoise before the scaling to 0..1"
                )
        picture = to_uint8(img)
        options = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        if picture.ndim == 2 or picture.shape[2] == 1:
            out = cv2.imdecode(cv2.imencode(".jpg", picture, options)[1], cv2.IMREAD_GRAYSCALE)
        else:
            encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1]
            out = simplejpeg.decode_jpeg(encoded, "RGB")  # the pixels that OpenCV gives, in four fifths of the time
        return out if img.dtype == np.uint8 else out.astype(img.dtype)


class JpegNoise(Augmentor):
    """Compress to JPEG at a random quality and decompress: adds JPEG's blocks and ringing.

    Values must be on the scale of 0 to 255, in float pictures too.

    Args:
        quality_range: (lowest, highest) quality, whole numbers from 1 to 100, drawn uniformly.
    """

    def __init__(self, quality_range: tuple[int, int] = (40, 100)) -> None:
        self.quality_range = as_int_range(quality_range, self, "quality_range", 1, 100)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> JpegNoiseTransform:
        """Draw the quality."""
        return JpegNoiseTransform(draw_int(rng, *self.quality_range))


@functools.cache
def normal_quantiles() -> np.ndarray:
    """Look-up table from 16 random bits to N(0, 1): 65,536 equally likely quantiles, float32.

    Looking noise up takes a quarter of the time of ``standard_normal``. The values reach 4.3 standard deviations, and
    the standard deviation of the table is 0.99997.
    """
    half = [NormalDist().inv_cdf((i + 0.5) / 65536) for i in range(32768)]
    return np.array(half + [-value for value in reversed(half)], np.float32)


@dataclass(eq=False)
class GaussianNoiseTransform(PixelTransform):
    """Add Gaussian noise."""

    sigma: float
    clip: bool
    seed: int

    def change(self, img: np.ndarray) -> np.ndarray:
        table = normal_quantiles() * np.float32(self.sigma)
        bits = np.frombuffer(noise_stream(self.seed).bytes(2 * img.size), np.uint16)
        if img.dtype == np.uint8:
            # The picture's values are whole, so rounding the noise, 65,536 values, rounds the sum. Beyond +-255 noise
            # saturates any uint8, so the table is limited to what int16 holds.
            noise = np.rint(table).clip(-255, 255).astype(np.int16).take(bits)
            rows = as_rows(img)
            return cv2.add(rows, noise.reshape(rows.shape), dtype=cv2.CV_8U).reshape(img.shape)
        out = table.take(bits).reshape(img.shape)
        out += img
        return limit(out, self.clip)


class GaussianNoise(Augmentor):
    """Add noise from N(0, sigma ** 2), drawn independently for every value.

    Args:
        sigma: Standard deviation, on the scale of 0 to 255.
        clip: Limit float32 pictures to 0..255 as well. (uint8 always is.)
    """

    def __init__(self, sigma: float = 1.0, clip: bool = True) -> None:
        self.sigma = as_number(sigma, self, "sigma", 0.0)
        self.clip = bool(clip)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> GaussianNoiseTransform:
        """Draw a seed for the noise."""
        return GaussianNoiseTransform(self.sigma, self.clip, draw_seed(rng))


@dataclass(eq=False)
class PoissonNoiseTransform(PixelTransform):
    """Replace values by photon counts."""

    photons: float
    clip: bool
    seed: int

    def change(self, img: np.ndarray) -> np.ndarray:
        per_level = self.photons / 255  # photons that one level of brightness stands for
        if img.dtype == np.uint8:
            means = (np.arange(256) * per_level).take(img)
        else:
            means = img.clip(0, None) * per_level
        counts = noise_stream(self.seed).poisson(means).astype(np.float32)
        counts /= np.float32(per_level)
        return to_uint8(counts) if img.dtype == np.uint8 else limit(counts, self.clip)


class PoissonNoise(Augmentor):
    """Add shot noise: replace every value by a photon count from the Poisson distribution of which it is the mean.

    Args:
        photons: The mean count of white (255); the fewer, the more noise. The noise of a value v has the standard
            deviation ``sqrt(255 * v / photons)``.
        clip: Limit float32 pictures to 0..255 as well. (uint8 always is.) Negative values count as 0.
    """

    def __init__(self, photons: float = 255.0, clip: bool = True) -> None:
        self.photons = as_number(photons, self, "photons", 1e-3, 1e9)
        self.clip = bool(clip)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> PoissonNoiseTransform:
        """Draw a seed for the noise."""
        return PoissonNoiseTransform(self.photons, self.clip, draw_seed(rng))


@dataclass(eq=False)
class SaltPepperNoiseTransform(PixelTransform):
    """Set random values to 0 or 255."""

    white_prob: float
    black_prob: float
    per_channel: bool
    seed: int

    def change(self, img: np.ndarray) -> np.ndarray:
        shape = img.shape if self.per_channel else img.shape[:2]
        # Of the 2 ** 32 equally likely draws of a pixel the lowest turn it black, the highest white. With a probability
        # of 1 these are all 2 ** 32, which uint32 does not hold: so compare with the last draw that counts.
        black, white = round(self.black_prob * 2**32), round(self.white_prob * 2**32)
        bits = noise_stream(self.seed).bytes(4 * int(np.prod(shape)))
        draws = np.frombuffer(bits, np.uint32).reshape(shape)
        out = img.copy(order="C")
        if black:
            out[draws <= np.uint32(black - 1)] = 0
        if white:
            out[draws >= np.uint32(2**32 - white)] = 255
        return out


class SaltPepperNoise(Augmentor):
    """Set random values to 255 (salt) and to 0 (pepper).

    Args:
        white_prob: Probability that a value becomes 255.
        black_prob: Probability that a value becomes 0.
        per_channel: Draw for each channel by itself, which gives coloured specks; False: for whole pixels, which become
            black or white.
    """

    def __init__(self, white_prob: float = 0.05, black_prob: float = 0.05, per_channel: bool = True) -> None:
        self.white_prob = as_prob(white_prob, self, "white_prob")
        self.black_prob = as_prob(black_prob, self, "black_prob")
        if self.white_prob + self.black_prob > 1:
            raise ConfigError(
                f"SaltPepperNoise: white_prob={white_prob} and black_prob={black_prob} add up to more than 1"
            )
        self.per_channel = bool(per_channel)

    def get_transform(self, img: np.ndarray, rng: np.random.Generator) -> SaltPepperNoiseTransform:
        """Draw a seed for the noise."""
        return SaltPepperNoiseTransform(self.white_prob, self.black_prob, self.per_channel, draw_seed(rng))
