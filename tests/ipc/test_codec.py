"""Values as bytes and back: exact, and nothing but CodecError from bytes that are not what pack() makes."""

from __future__ import annotations

import collections
import contextlib
import datetime
import struct

import ml_dtypes
import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowtrain.ipc.codec import CodecError, pack, pack_frames, unpack, unpack_frames
from flowtrain.utils.description import describe

dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(),
    hnp.datetime64_dtypes(),
    hnp.timedelta64_dtypes(),
    hnp.byte_string_dtypes(),
    hnp.unicode_string_dtypes(),
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
keys = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.tuples(st.integers(), st.text()))
plain = st.one_of(keys, st.floats(), st.complex_numbers(allow_nan=False))
values = st.recursive(
    st.one_of(plain, arrays),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=8,
)


def same(given, found):
    assert type(given) is type(found)
    if isinstance(given, np.ndarray):
        assert given.dtype == found.dtype and given.shape == found.shape
        if given.dtype.hasobject:
            for a, b in zip(given.ravel().tolist(), found.ravel().tolist(), strict=True):
                same(a, b)
        else:
            assert given.tobytes() == found.tobytes()
    elif isinstance(given, (list, tuple)):
        assert len(given) == len(found)
        for a, b in zip(given, found, strict=True):
            same(a, b)
    elif isinstance(given, dict):
        same(list(given), list(found))
        same(list(given.values()), list(found.values()))
    else:
        assert given == found or (given != given and found != found)


@given(values)
def test_what_is_packed_comes_back_the_same(value):
    same(value, unpack(pack(value)))
    same(value, unpack(pack(value), copy=False))
    same(value, unpack_frames(pack_frames(value, min_bytes=1)))


@given(arrays.filter(lambda array: array.dtype.kind in "biuf"), st.data())
def test_masked_arrays_keep_mask_and_fill_value(array, data):
    mask = data.draw(st.one_of(st.just(np.ma.nomask), hnp.arrays(bool, array.shape)))
    value = np.ma.MaskedArray(array, mask, hard_mask=data.draw(st.booleans()))
    if data.draw(st.booleans()):
        value.fill_value = 1
    for found in (unpack(pack(value)), unpack_frames(pack_frames([value], min_bytes=1))[0]):
        assert type(found) is np.ma.MaskedArray and found.dtype == value.dtype and found.hardmask == value.hardmask
        same(value.data, found.data)
        assert (found.mask is np.ma.nomask) == (value.mask is np.ma.nomask)
        same(np.ma.getmaskarray(value), np.ma.getmaskarray(found))
        same(value.fill_value, found.fill_value)


record = np.dtype([("a", "<i4"), ("b", ">f8", (2, 3)), ("c", "S3")])


@pytest.mark.parametrize("inner", [np.dtype("u1"), np.dtype([("x", "u1"), ("y", "<i4")], align=True)])
def test_bytes_between_the_fields_of_a_record_do_not_leave_the_process(inner):
    dtype = np.dtype([("a", inner, (2,)), ("b", "<f8")], align=True)
    dirty = np.frombuffer(bytearray(b"\xa5" * 40 * dtype.itemsize), np.uint8).view(dtype)  # gaps of 0xa5
    clean = np.zeros_like(dirty)
    clean[...] = dirty
    for value, same_value in [(dirty, clean), (dirty[::3], clean[::3]), (dirty[1], clean[1])]:
        assert pack(value) == pack(same_value)
        assert bytes(b"".join(pack_frames(value, min_bytes=1))) == b"".join(pack_frames(same_value, min_bytes=1))
        assert unpack(pack(value)).tobytes() == unpack(pack(same_value)).tobytes()
    assert describe(dirty) == describe(clean)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(3, record),
        np.zeros((), record)[()],
        np.array([1, 2], ml_dtypes.bfloat16),
        np.array(["x", "yy"], np.dtypes.StringDType()),
        np.array(["a", b"\0b", None, [1], np.zeros(2)], object),
        np.arange(12).reshape(3, 4).T,
        np.arange(20)[::3],
        np.str_(""),
        np.bytes_(b"a"),
        np.bytes_(b""),
        np.str_("a\0\0"),
        np.bytes_(b"a\0"),
        np.float64(3),
        np.datetime64("2020-01-01"),
        2**100,
        -(2**70),
        "a\udc80",
        np.zeros(2, np.dtype([(("a 'title'", "größe"), "<f4"), ("b", [("c", "u1", (2,))])])),
        np.zeros(2, np.dtype([("a", "u1"), ("b", "<f8")], align=True)),
    ],
)
def test_odd_values(value):
    same(value, unpack(pack(value)))
    same(value, unpack_frames(pack_frames(value, min_bytes=1)))


def test_text_of_nuls_alone_is_refused():
    """NumPy leaves out the NULs at the end of a text, so that one of nothing else looks like an empty one."""
    for value in (np.str_("\0"), np.bytes_(b"\0\0")):
        with pytest.raises(CodecError, match="Python's own str or bytes"):
            pack(value)
    assert unpack(pack(["\0", b"\0"])) == ["\0", b"\0"]


def test_subclasses_arrive_as_what_they_extend():
    point = collections.namedtuple("point", "x y")
    assert unpack(pack([point(1, 2), collections.OrderedDict(a=1), bytearray(b"b")])) == [(1, 2), {"a": 1}, b"b"]


def test_arrays_are_writable_unless_asked_for_without_a_copy():
    for dtype in (np.uint8, np.float64):
        assert unpack(pack(np.zeros(3, dtype))).flags.writeable
    assert not unpack(pack(np.zeros(3)), copy=False).flags.writeable


def test_frames_share_memory_with_the_arrays():
    array = np.zeros(10_000)
    frames = pack_frames([array, np.zeros(3)])
    assert len(frames) == 2
    received = unpack_frames(frames)[0]
    array[5] = 7
    assert received[5] == 7


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, {2}]}, r"\['a'\]\[1\].*set"),
        ([object()], r"\[0\].*object"),
        ((1, datetime.date.today()), "date"),
        (np.array([{1}], object), "set"),
        (np.zeros(2, [("a", object)]), "objects"),
        (np.zeros(2, [("a", ml_dtypes.bfloat16)]), "bfloat16.*gives another dtype"),
        (np.zeros(2, {"names": ["a", "b"], "formats": ["i4", "f8"], "offsets": [8, 0]}), "out-of-order"),
    ],
)
def test_what_cannot_be_packed_is_named(value, where):
    with pytest.raises(CodecError, match=where):
        pack(value)
    with pytest.raises(CodecError, match=where):
        pack_frames(value)


def test_a_value_that_holds_itself():
    value = []
    value.append(value)
    with pytest.raises(CodecError, match="itself"):
        pack(value)


@given(values, st.data())
def test_damaged_bytes_raise_or_give_a_value_but_nothing_else(value, data):
    packed = bytearray(pack(value))
    for _ in range(3):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CodecError):
        unpack(packed)


def test_truncated_and_trailing_bytes():
    packed = pack([np.arange(5), "text", (1, 2)])
    for end in range(len(packed)):
        with pytest.raises(CodecError):
            unpack(packed[:end])
    with pytest.raises(CodecError):
        unpack(packed + b"\0")


def test_limits_and_wrong_frames():
    frames = pack_frames([np.zeros(10_000), np.ones(10_000)])
    with pytest.raises(CodecError, match="max_bytes"):
        unpack(pack(b"x" * 100), max_bytes=99)
    with pytest.raises(CodecError, match="max_bytes"):
        unpack_frames(frames, max_bytes=1000)
    with pytest.raises(CodecError, match="frame 2"):
        unpack_frames(frames[:2])
    with pytest.raises(CodecError, match="3 frames"):
        unpack_frames([*frames, b""])
    with pytest.raises(CodecError, match="bytes, 5 came"):
        unpack_frames([frames[0], frames[1], b"short"])
    with pytest.raises(CodecError, match="no frames"):
        unpack_frames([])


def array_message(dtype, shape, body, code=1):
    """An array as `pack` writes it, of any dtype's text."""
    head = struct.pack("<HB", len(dtype), len(shape)) + dtype + struct.pack(f"<{len(shape)}Q", *shape)
    return msgpack.packb(msgpack.ExtType(code, head + body))


@pytest.mark.parametrize(
    "name",
    [
        *("ml_dtypes.finfo", "ml_dtypes.nonsense", "ml_dtypes.iinfo", "ml_dtypes.__name__", "ml_dtypes."),
        *("O", "|O", "|O8", "T", "object", "StringDType", "numpy.object_", "f4,O", "8O", "(2,)O", "", "\0", "f4\0"),
        *(
            "[('a','|O')]",
            "[('a','T')]",
            "[('a',[('b','O')])]",
            "[('a','ml_dtypes.finfo')]",
            "[('a','<f4',(2,)),('b','O')]",
        ),
        *("[" * 1000, "[('a'," * 5000, "[('a','f4'),('a','f4')]", "[('a','<f4',(99999,99999,99999))]", "S99999999999"),
        "__import__('os').system('true')",
    ],
)
def test_a_dtype_that_is_not_one_of_plain_bytes_is_refused(name):
    for code in (1, 3):
        for shape, size in (((), 8), ((2,), 16), ((1,), 8)):
            message = array_message(name.encode(), shape, b"\x41" * size, code)
            for copy in (True, False):
                with pytest.raises(CodecError, match="refused an array"):
                    unpack(message, copy=copy)


def test_every_dtype_of_ml_dtypes_that_NumPy_has_registered():
    for name in dir(ml_dtypes):
        kind = getattr(ml_dtypes, name)
        if isinstance(kind, type) and issubclass(kind, np.generic):
            value = np.zeros((2, 3), kind)
            same(value, unpack(pack(value)))
            same(value, unpack_frames(pack_frames(value, min_bytes=1)))


def nested(depth, code=6):
    inner = b"\x90"
    for _ in range(depth):
        inner = msgpack.packb(msgpack.ExtType(code, b"\x91" + inner))
    return inner


@pytest.mark.parametrize("depth", [33, 200, 2000])
@pytest.mark.parametrize("code", [2, 6, 8])
def test_messages_inside_messages_do_not_overflow_the_stack(depth, code):
    for copy in (True, False):
        with pytest.raises(CodecError):
            unpack(nested(depth, code), copy=copy)
    with pytest.raises(CodecError):
        unpack_frames([nested(depth, code)])


def test_how_deep_a_value_may_be():
    value = []
    for _ in range(32):
        value = (value,)
    same(value, unpack(pack(value)))
    same(value, unpack_frames(pack_frames(value)))
    for function in (pack, pack_frames):
        with pytest.raises(CodecError, match="nested more than 32 deep"):
            function((value,))
    boxed = np.empty(1, object)
    boxed[0] = value
    with pytest.raises(CodecError, match="nested more than 32 deep"):
        pack(boxed)
    strings = np.array(["a"], np.dtypes.StringDType())  # what is packed is unpacked: its elements are a message too
    for _ in range(31):
        strings = (strings,)
    same(strings, unpack(pack(strings)))
    for function in (pack, pack_frames):
        with pytest.raises(CodecError, match="nested more than 32 deep"):
            function((strings,))


def test_elements_that_do_not_fit_their_array():
    def message(code, value):
        return msgpack.packb(msgpack.ExtType(code, msgpack.packb(value)))

    for value in ([[-1, -1], [1]], [[2.0], [1, 2]], [[True], [1]], ["ab", [1, 2]], [[2], "ab"], {1: 2, 3: 4}, 5, [[1]]):
        for code in (2, 8):
            with pytest.raises(CodecError):
                unpack(message(code, value))
    with pytest.raises(CodecError, match="strings holds something else"):
        unpack(message(8, [[1], [5]]))
    with pytest.raises(CodecError, match="tuple came as a dict"):
        unpack(message(6, {1: 2}))


def test_characters_that_are_none():
    for dtype, body in ((b"<U1", b"\xff" * 4), (b">U2", b"\0\x11" + b"\0" * 6), (b"<U3", b"\xff" * 12)):
        for code, shape in ((1, (1,)), (3, ())):
            with pytest.raises(CodecError, match="not Unicode"):
                unpack(array_message(dtype, shape, body, code))


def test_elements_of_no_bytes_take_no_memory():
    for dtype in (b"|S0", b"|V0", b"<U0"):
        found = unpack(array_message(dtype, (2, 3), b""))
        assert found.shape == (2, 3) and found.dtype.itemsize == 0
        same(found, unpack(pack(found)))
        for copy in (True, False):
            with pytest.raises(CodecError, match="more than 1,048,576 empty elements"):
                unpack(array_message(dtype, (1 << 40,), b""), copy=copy)
        with pytest.raises(CodecError, match="empty elements"):
            pack(np.ndarray((1 << 40,), dtype.decode(), b""))
