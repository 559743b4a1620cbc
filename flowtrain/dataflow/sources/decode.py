"""Decoding of one picture file: complete and without loss of depth, or an error that names the file."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from PIL import GifImagePlugin, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from ...utils.arguments import check_choice
from ...utils.claims import DEFLATE_MOST, check_claim
from ...utils.errors import DataFlowError, FormatError
from ...utils.storage import RemoteFile, StorageError, StorageFile, StorageMissing, is_url, path_or_url, read_all
from ..core.undecoded import may_leave
from .jpeg import JpegHeader, UndecodedJpeg, check_pixels, decode_jpeg, read_header
from .tiff import BITS, COLORS, PALETTE, RGB, TIFF, beyond_opencv, first_tags

__all__ = [
    "BrokenImage",
    "Depth",
    "Palette",
    "check_reading",
    "decode_image",
    "looks_whole",
    "read_bytes",
    "read_image",
    "unreachable",
]

Palette = Literal["index", "color"] | None
Depth = Literal["keep", 8]

_TAIL = 4096  # bytes: the end marker is looked for in the last ones first, then everywhere, since data may follow it
_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG, _PNG_END = b"\x89PNG", b"IEND"
_PNG_PALETTE = 3  # the colour type in byte 25 (PNG, 11.2.1)
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PNG_COLOURS = (b"\2", b"\3", b"\6")  # the colour types in colour
_GIF, _BMP = b"GIF8", b"BM"
_ISO_MEDIA = b"ftyp"  # at byte 4 of ISO base media files, such as AVIF
_GIF_PIXELS_PER_BYTE = 1 << 12  # at most: an LZW code of n bits, up to 12, stands for fewer than 2 ** n pixels
_GIF_FREE = 1 << 22  # pixels that any GIF may claim: the canvas may be larger than the frame that is coded
_BMP_BITS = 28  # offset of biBitCount
_COLOURS = ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")  # Pillow's modes of pictures in colour
_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)  # OpenCV 4.11 and later decode to RGB directly


class BrokenImage(FormatError):
    """A file is cut short, damaged or no picture; the message names it."""


def check_reading(owner: str, channel: object, palette: object, depth: object) -> None:
    """Raise unless these are valid arguments of :func:`read_image`."""
    check_choice(owner, "channel (3: RGB, 1: gray)", channel, (3, 1), DataFlowError)
    check_choice(owner, "palette", palette, ("index", "color", None), DataFlowError)
    if palette == "index" and channel != 1:
        raise DataFlowError(f"{owner}: palette='index' gives the numbers of colours, one channel: pass channel=1")
    check_choice(owner, "depth", depth, ("keep", 8), DataFlowError)


def read_image(
    path: str | os.PathLike[str],
    channel: int = 3,
    min_size: int | None = None,
    palette: Palette = None,
    depth: Depth = "keep",
) -> np.ndarray:
    """Read a picture file.

    Args:
        path: A JPEG, PNG, TIFF, or anything else that OpenCV reads. Transparency is dropped, Exif orientation is
            applied.
        channel: 3 for RGB, 1 for gray.
        min_size: Decode JPEGs at 1/2, 1/4 or 1/8 of their size: the smallest whose shorter side still has
            ``min_size`` pixels. That is cheaper, and closer to area resampling than decoding all and resizing linearly.
        palette: For a picture with a palette, such as a mask of classes: ``"index"`` gives the palette indices
            (``channel=1``), ``"color"`` the colours. None gives the colours with ``channel=3``, and is an error with
            ``channel=1``.
        depth: ``"keep"``: every level as stored. 8: the upper 8 of 16 bits.

    Returns:
        (H, W, channel), uint8; with ``depth="keep"`` uint16 for deeper pictures, and for TIFFs any dtype they hold.

    Raises:
        BrokenImage: The file is empty, cut short, damaged or no picture.
        DataFlowError: The picture has a palette and ``palette`` does not say how to read it, or its numbers cannot be
            converted to 8 bits, or to gray.
        FileNotFoundError: There is no such file.
    """
    check_reading("read_image", channel, palette, depth)
    found = path_or_url(path)
    return decode_image(read_bytes(found), found, channel, min_size, palette, depth)


def decode_image(
    data: np.ndarray,
    name: str,
    channel: int = 3,
    min_size: int | None = None,
    palette: Palette = None,
    depth: Depth = "keep",
) -> np.ndarray:
    """Decode a picture file in memory; all sources and formats decode pictures here.

    Args:
        data: uint8 (N,), the file.
        name: Name of the file, for errors.
        channel: See :func:`read_image`, also for the other arguments.
        min_size: See there.
        palette: See there.
        depth: See there.

    Returns:
        As :func:`read_image`; an ``UndecodedJpeg`` if the source was asked to leave JPEGs undecoded.
    """
    if not data.size:
        raise BrokenImage(f"{name}: the file is empty")

    def read(at: int, length: int) -> bytes:
        return data[at : at + length].tobytes()

    head, size = read(0, 32), data.size
    header = read_header(read, size) if head.startswith(_JPEG) else None
    if not _has_end(head, header, size, read):
        raise BrokenImage(f"{name}: the picture is cut short: its end is missing ({size} bytes)")
    try:  # before any decoder, as decoders allocate what a header claims
        _check_claimed(head, header, size)
    except ValueError as error:
        raise BrokenImage(f"{name}: the picture is damaged: its header tells of more than there is: {error}") from error
    scale = _scale(header, min_size) if header else 1
    if header and palette != "index" and may_leave() and UndecodedJpeg.can(header, scale):
        return UndecodedJpeg(data, header, channel, scale)  # type: ignore[return-value]  # for callers that ask for it
    # The header is asked first, so that gray pictures without a palette are not opened by Pillow as well.
    if palette == "index" or (channel == 1 and palette is None and _has_palette(data, head)):
        indices = _indices(data, name, palette == "index")
        if indices is not None:
            return indices
    try:
        image = decode_jpeg(data, header, channel, scale) if header else None
        if image is None:
            image = _decoded(data, head, name, channel, scale)
    except DataFlowError:  # a ValueError too; the picture is whole, so on_error="skip" must not leave it out
        raise
    except (cv2.error, ValueError) as error:  # e.g. a header that claims a huge picture
        raise BrokenImage(f"{name}: the picture is damaged: {error}") from error
    if image is None:
        raise BrokenImage(f"{name}: no picture that OpenCV can decode ({size} bytes)")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] != channel:  # OpenCV returns the stored channels of a PFM, whatever it is asked for
        if image.shape[2] != 1:
            raise DataFlowError(f"{name} has {image.shape[2]} channels, of which OpenCV makes no {channel}")
        image = np.repeat(image, channel, axis=2)
    return image if image.dtype == np.uint8 or depth == "keep" else _to_8_bits(image, name)


def looks_whole(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins and ends like a picture; nothing is decoded (some 20 us).

    Raises:
        OSError: The file at a URL could not be reached, which says nothing of the picture.
    """
    found = path_or_url(path)
    try:
        with StorageFile(RemoteFile(found, keep=False)) if is_url(found) else open(found, "rb") as file:

            def read(at: int, length: int) -> bytes:
                file.seek(at)
                return file.read(length)

            head, size = read(0, 32), file.seek(0, os.SEEK_END)
            if head.startswith((_JPEG, _PNG)):
                return _has_end(head, read_header(read, size) if head.startswith(_JPEG) else None, size, read)
            if is_url(found):  # haveImageReader takes only a file's name, and looks at its first bytes
                with tempfile.NamedTemporaryFile() as copy:
                    copy.write(read(0, 4096))
                    copy.flush()
                    return bool(head) and cv2.haveImageReader(copy.name)
    except OSError as error:
        if unreachable(error):
            raise
        return False
    return bool(head) and cv2.haveImageReader(found)


def read_bytes(path: str) -> np.ndarray:
    """The bytes of a file or URL, uint8 (N,)."""
    if is_url(path):
        return np.frombuffer(read_all(path), np.uint8)
    with open(path, "rb", buffering=0) as file:  # some 10 us, half the time of np.fromfile
        return np.frombuffer(file.read(), np.uint8)


def unreachable(error: Exception) -> bool:
    """Whether an error means that a file at a URL was not reached, rather than that it is broken or missing."""
    return isinstance(error, StorageError) and not isinstance(error, StorageMissing)


def _check_claimed(head: bytes, header: JpegHeader | None, size: int) -> None:
    """Refuse a header that claims more pixels than the file can hold, for JPEG, PNG and GIF, which bound that number.

    Their decoders take memory for all pixels first; decoders of other formats touch it as data come.

    Raises:
        ValueError: More pixels are claimed than ``size`` bytes can hold.
    """
    if header is not None:
        check_pixels(header, size)
    elif head.startswith(_PNG) and len(head) > 25:
        width, height = (int.from_bytes(head[at : at + 4]) for at in (16, 20))
        bits = head[24] * _PNG_CHANNELS.get(head[25], 1)
        # At least so many bytes have to come out of the decompression; the filter byte of each row comes on top.
        check_claim(height * (width * bits // 8), size, ratio=DEFLATE_MOST)
    elif head.startswith(_GIF):
        width, height = (int.from_bytes(head[at : at + 2], "little") for at in (6, 8))
        check_claim(width * height, size, ratio=_GIF_PIXELS_PER_BYTE, limit=_GIF_FREE, unit="pixels")


def _has_end(head: bytes, header: JpegHeader | None, size: int, read: Callable[[int, int], bytes]) -> bool:
    """Whether the end marker of a JPEG or PNG is there; True for other formats."""
    if header is not None:
        # A thumbnail before the scan has an end marker too, and a file that is cut in half may have no other.
        start, mark = header.scan, _JPEG_END
        if start <= 0:
            return start < 0  # -1, segments that cannot be followed: left to the decoder to judge
    elif head.startswith(_PNG):
        start, mark = 0, _PNG_END
    else:
        return True
    tail = max(start, size - _TAIL)
    return mark in read(tail, size - tail) or mark in read(start, size - start)


def _scale(header: JpegHeader, min_size: int | None) -> int:
    """The denominator of the size at which a JPEG is decoded: 1, 2, 4 or 8."""
    shorter = min(header.height, header.width)
    return next((scale for scale in (8, 4, 2) if min_size is not None and shorter >= scale * min_size), 1)


def _decoded(data: np.ndarray, head: bytes, name: str, channel: int, scale: int) -> np.ndarray | None:
    reduced = 0 if scale == 1 else 8 * scale  # OpenCV's IMREAD_REDUCED_GRAYSCALE_2, _4, _8 are 16, 32, 64
    if head.startswith(TIFF):
        return _decoded_tiff(data, name, channel)
    if head.startswith(_GIF):
        return _decoded_gif(data, channel)
    if channel == 1 and _has_gamma(data, head):
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        return image if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if channel == 1:
        return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH | reduced)
    if _RGB is not None and head[4:8] != _ISO_MEDIA:  # for an AVIF with alpha this flag gives BGR all the same
        return cv2.imdecode(data, _RGB | cv2.IMREAD_ANYDEPTH | reduced)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | reduced)
    return image if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _decoded_gif(data: np.ndarray, channel: int) -> np.ndarray:
    """A GIF's first frame, by Pillow: it keeps the colours of transparent pixels, where OpenCV has the background."""
    try:
        with _opened(data) as file:
            image = np.array(file.convert("RGB"))
    except Exception as error:  # Pillow's errors are of any type
        raise ValueError(str(error)) from error
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if channel == 1 else image


def _decoded_tiff(data: np.ndarray, name: str, channel: int) -> np.ndarray | None:
    """A TIFF with its values as stored, also where OpenCV's own conversion to RGB or gray would change them."""
    tags = first_tags(data.data) or {}
    beyond = beyond_opencv(tags, channel)
    if beyond:
        raise DataFlowError(
            f"{name} {beyond}: read it in a MapData over DataFromFiles, by read_raster or a library that knows such "
            "TIFFs (tifffile)"
        )
    count, bits = tags.get(BITS, (1, 1))
    if count == 4 and bits == 8 and tags.get(COLORS, (1, 0))[1] == RGB:  # OpenCV multiplies these colours by alpha
        try:
            with Image.open(io.BytesIO(data.data)) as file:
                image = np.array(ImageOps.exif_transpose(file)) if file.mode == "RGBA" else None
        except UnidentifiedImageError:  # planes without a word of transparency: OpenCV leaves the fourth out
            image = None
        if image is not None:
            image = np.ascontiguousarray(image[:, :, :3])
            return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if channel == 1 else image
    if count == 1 and bits >= 32:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        return image if image is None or channel == 1 else np.repeat(image[:, :, None], channel, axis=2)
    if count >= 3 and bits >= 32 and channel == 1:
        raise DataFlowError(
            f"{name} has colours of {bits} bits, of which OpenCV makes no gray: pass channel=3, and "
            "mix them in a MapData"
        )
    if channel == 1:
        return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)  # IMREAD_COLOR_RGB spoils 16 bits
    return image if image is None else np.ascontiguousarray(image[:, :, ::-1])


def _has_gamma(data: np.ndarray, head: bytes) -> bool:
    """Whether a PNG in colour tells its gamma.

    OpenCV's gray of it is then that of linear light, up to 60 levels off that of the same colours without the gamma.
    """
    if not head.startswith(_PNG) or head[25:26] not in _PNG_COLOURS:
        return False
    content = data.tobytes()
    end = content.find(b"IDAT")  # the pixels; what tells the gamma comes before them
    return any(content.find(chunk, 0, end) >= 0 for chunk in (b"gAMA", b"sRGB", b"iCCP"))


def _has_palette(data: np.ndarray, head: bytes) -> bool:
    if head.startswith(_PNG):
        return head[25:26] == bytes([_PNG_PALETTE])
    if head.startswith(_BMP):  # of up to 8 bits per pixel, which in BMP are always palette indices
        return int.from_bytes(head[_BMP_BITS : _BMP_BITS + 2], "little") <= 8
    if head.startswith(TIFF):
        return (first_tags(data.data) or {}).get(COLORS, (1, 0))[1] == PALETTE
    return head.startswith(_GIF)


def _indices(data: np.ndarray, name: str, asked: bool) -> np.ndarray | None:
    """The palette indices of a picture, uint8 (H, W, 1); None if it is gray, to be decoded by OpenCV.

    Args:
        data: uint8 (N,), the file.
        name: Name of the file, for errors.
        asked: Whether indices were asked for (``palette="index"``); if not, a palette of colours is an error.
    """
    try:
        with _opened(data) as file:
            mode = file.mode
            if asked and mode in ("P", "PA", "1"):
                indices = np.array(ImageOps.exif_transpose(file)).astype(np.uint8)
                return indices[:, :, :1].copy() if mode == "PA" else indices[:, :, None]
    except Image.DecompressionBombError as error:
        advice = "set PIL.Image.MAX_IMAGE_PIXELS in the function or module that workers load, or save it as PNG"
        raise DataFlowError(f"{name} is larger than Pillow opens ({error}): {advice}") from error
    except Exception as error:  # Pillow's errors are of any type
        if asked:
            raise BrokenImage(f"{name}: the picture is damaged: {error}") from error
        return None  # OpenCV says what is wrong
    if asked and mode in _COLOURS:
        raise DataFlowError(
            f"{name} has no palette: it is a picture in colour ({mode}), of which no numbers can be made"
        )
    if mode not in ("P", "PA") or asked:
        return None  # gray, also by a palette of grays
    raise DataFlowError(
        f"{name} has a palette: it stores numbers of colours, and a mask's numbers are its classes. Pass "
        "palette='index' for these numbers, or palette='color' for the gray of its colours"
    )


def _opened(data: np.ndarray) -> Image.Image:
    """Open a picture with Pillow, for PNG and GIF without Pillow's limit of 179 million pixels.

    ``Image.open`` applies that limit, the classes of the formats do not; `_check_claimed` has bounded these two.
    """
    file, head = io.BytesIO(data.data), data[:4].tobytes()
    if head == _PNG:
        return PngImagePlugin.PngImageFile(file)
    return GifImagePlugin.GifImageFile(file) if head == _GIF else Image.open(file)


def _to_8_bits(image: np.ndarray, name: str) -> np.ndarray:
    if image.dtype != np.uint16:
        raise DataFlowError(
            f"{name} holds {image.dtype}, of which depth=8 can make nothing without a scale: pass depth='keep', and "
            "scale it in a MapData"
        )
    return (image >> 8).astype(np.uint8)
