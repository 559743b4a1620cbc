"""Pictures and files of kinds that decoders read wrongly, or that no one can read at all: right data, or one error."""

import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from flowtrain.dataflow import CSVData, DataFromFiles, ImageFromFile, LMDBData, NpzData, ParquetData, TarData
from flowtrain.dataflow.sources.decode import BrokenImage
from flowtrain.utils.errors import DataFlowError

RGB = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)


def tiff(values, colors, *, planes=False, kind=1):
    """A TIFF of one strip, or of one for each channel; ``values`` (H, W, C)."""
    height, width, channels = values.shape
    parts = np.moveaxis(values, -1, 0) if planes else values[None]
    strips = [part.astype(values.dtype.newbyteorder("<")).tobytes() for part in parts]
    starts = np.cumsum([8, *map(len, strips)])
    after = b""

    def tag(number, numbers, code="H"):
        nonlocal after
        packed = struct.pack(f"<{len(numbers)}{code}", *numbers)
        if len(packed) > 4:
            at, after = starts[-1] + 2 + 12 * 10 + 4 + len(after), after + packed
            packed = struct.pack("<I", at)
        return struct.pack("<HHI", number, 3 if code == "H" else 4, len(numbers)) + packed.ljust(4, b"\0")

    bits = values.dtype.itemsize * 8
    tags = [
        tag(256, [width]), tag(257, [height]), tag(258, [bits] * channels), tag(259, [1]), tag(262, [colors]),
        tag(273, starts[:-1], "I"), tag(277, [channels]), tag(279, [len(s) for s in strips], "I"),
        tag(284, [2 if planes else 1]), tag(339, [kind] * channels),
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", starts[-1]) + b"".join(strips) + directory + after


def read(path, data, **arguments):
    path.write_bytes(data)
    return ImageFromFile([path], **arguments).get(0)[0]


@pytest.mark.parametrize(
    ("channels", "dtype", "colors", "planes", "message"),
    [
        (3, "uint16", 2, True, "a plane for each of its 3 channels of 16 bits"),
        (3, "float32", 2, True, "a plane for each of its 3 channels of 32 bits"),
        (2, "uint16", 1, False, "gray with transparency in 16 bits"),
        (4, "uint16", 1, False, "4 channels that are no colours"),
        (3, "uint8", 1, False, "3 channels that are no colours"),
        (5, "uint8", 2, False, "5 channels of 8 bits"),
        (4, "float32", 2, False, "4 channels of 32 bits"),
        (4, "uint16", 5, False, "colours in CMYK of 16 bits"),
        (1, "float16", 1, False, "floats of 16 bits"),
        (1, "complex64", 1, False, "complex numbers of 64 bits"),
    ],
)
def test_a_tiff_beyond_opencv_is_refused_and_never_skipped(tmp_path, channels, dtype, colors, planes, message):
    values = np.random.default_rng(0).random((12, 9, channels)).astype(dtype)
    data = tiff(values, colors, planes=planes, kind={"f": 3, "c": 6}.get(values.dtype.kind, 1))
    for on_error in ("raise", "skip"):
        with pytest.raises(DataFlowError, match=f"a.tif (has|is|holds) {message}.*read_raster.*datapoint 0") as caught:
            read(tmp_path / "a.tif", data, on_error=on_error)
        assert not isinstance(caught.value, BrokenImage)


@pytest.mark.parametrize(("dtype", "planes"), [("uint8", False), ("uint8", True), ("uint16", False), ("float32", 0)])
def test_a_tiff_in_colour_has_its_values(tmp_path, dtype, planes):
    values = RGB.astype(dtype)
    image = read(tmp_path / "a.tif", tiff(values, 2, planes=planes, kind=3 if dtype == "float32" else 1))
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, values)


@pytest.mark.parametrize("chunk", [b"gAMA" + struct.pack(">I", 45455), b"sRGB\0"])
def test_gray_of_a_png_does_not_depend_on_its_gamma(tmp_path, chunk):
    plain = cv2.imencode(".png", RGB[:, :, ::-1])[1].tobytes()
    told = plain[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + plain[33:]
    gray, same = read(tmp_path / "a.png", plain, channel=1), read(tmp_path / "b.png", told, channel=1)
    assert np.abs(gray.astype(int) - same).max() <= 1
    np.testing.assert_array_equal(same[:, :, 0], cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY))


def test_a_palette_with_transparency_is_a_palette(tmp_path):
    indices = Image.fromarray(RGB).quantize(8)
    indices.convert("PA").save(tmp_path / "a.tif")
    np.testing.assert_array_equal(
        ImageFromFile([tmp_path / "a.tif"], channel=1, palette="index").get(0)[0][:, :, 0], np.asarray(indices)
    )
    with pytest.raises(DataFlowError, match="has a palette"):
        ImageFromFile([tmp_path / "a.tif"], channel=1).get(0)


@pytest.mark.parametrize("source", [ImageFromFile, DataFromFiles, CSVData, LMDBData, NpzData, ParquetData, TarData])
def test_a_pipe_is_refused_at_once(tmp_path, source):
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(DataFlowError, match=r"a\.npz'? is no regular file"):
        source([tmp_path / "a.npz"] if source in (ImageFromFile, DataFromFiles) else tmp_path / "a.npz")
