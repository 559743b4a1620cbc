"""ParquetData beside pyarrow: the values of ``to_pylist``, in the dtypes of the columns."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrain.dataflow.formats import ParquetData
from flowtrain.utils.errors import FormatError

from .tries import tries

moments = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))
LEAVES = {
    pa.int8(): st.integers(-128, 127),
    pa.uint16(): st.integers(0, 65535),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=5),
    pa.large_string(): st.text(max_size=5),
    pa.binary(): st.binary(max_size=5),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.decimal128(9, 2): st.decimals(-999, 999, places=2),
    pa.date32(): st.dates(),
    pa.timestamp("us"): moments,
    pa.timestamp("ms", "UTC"): moments.map(lambda m: m.replace(microsecond=0)),
    pa.time64("us"): st.times(),
    pa.dictionary(pa.int32(), pa.string()): st.sampled_from(["a", "b", "é"]),
}


@st.composite
def columns(draw, depth=2):
    """(type, a strategy of its values without nulls)"""
    kind = draw(st.sampled_from(["leaf", "leaf", "list", "fixed", "struct"])) if depth else "leaf"
    if kind == "leaf":
        leaf = draw(st.sampled_from(list(LEAVES)))
        return leaf, LEAVES[leaf]
    if kind == "struct":
        fields = [draw(columns(depth - 1)) for _ in range(draw(st.integers(1, 2)))]
        made = pa.struct([(f"f{i}", one) for i, (one, _) in enumerate(fields)])
        return made, st.fixed_dictionaries({f"f{i}": values for i, (_, values) in enumerate(fields)})
    inner, values = draw(columns(depth - 1).filter(lambda found: not pa.types.is_dictionary(found[0])))
    if kind == "fixed":
        return pa.list_(inner, 2), st.lists(values, min_size=2, max_size=2)
    return draw(st.sampled_from([pa.list_, pa.large_list]))(inner), st.lists(values, max_size=3)


def check(kind, wanted, found):
    """A cell is what pyarrow gives, in NumPy's form where NumPy has one."""
    types = pa.types
    if wanted is None:
        assert found is None
    elif types.is_struct(kind):
        assert type(found) is dict and list(found) == list(wanted)
        for number in range(kind.num_fields):
            check(kind.field(number).type, wanted[kind.field(number).name], found[kind.field(number).name])
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = kind.value_type
        assert len(found) == len(wanted)
        if types.is_integer(inner) or types.is_floating(inner) or types.is_boolean(inner):
            assert type(found) is np.ndarray and found.dtype == inner.to_pandas_dtype()
        for one, other in zip(wanted, found, strict=True):
            check(inner, one, other)
    elif types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        assert found.dtype == kind.to_pandas_dtype()
        assert found.item() == wanted or (found != found and wanted != wanted)
    elif types.is_date(kind):
        assert found == np.datetime64(wanted, "D") and found.dtype == "M8[D]"
    elif types.is_timestamp(kind):
        assert found == np.datetime64(wanted.replace(tzinfo=None), "us") and found.dtype == f"M8[{kind.unit}]"
    else:
        assert type(found) is type(wanted) and found == wanted
        assert isinstance(found, (str, bytes, decimal.Decimal, datetime.time))


@tries(60)
@given(st.data())
def test_any_table(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "x.parquet"
    rows = data.draw(st.integers(0, 9))
    kinds, arrays = {}, {}
    for number in range(data.draw(st.integers(1, 3))):
        kind, values = data.draw(columns())
        nulls = data.draw(st.booleans())
        cells = st.one_of(st.none(), values) if nulls else values
        name = f"c{number}"
        kinds[name] = kind
        arrays[name] = pa.array(data.draw(st.lists(cells, min_size=rows, max_size=rows)), kind)
    table = pa.table(arrays)
    pq.write_table(
        table,
        path,
        row_group_size=data.draw(st.integers(1, 5)),
        compression=data.draw(st.sampled_from(["none", "snappy", "zstd", "gzip"])),
        use_dictionary=data.draw(st.booleans()),
        data_page_version=data.draw(st.sampled_from(["1.0", "2.0"])),
    )
    wanted = pq.read_table(path).to_pylist()
    kinds = {name: pq.read_schema(path).field(name).type for name in kinds}
    ds = ParquetData(path, missing=dict.fromkeys(kinds))
    if not rows:
        with pytest.raises(FormatError, match="no records"):
            list(ds)
        return
    found = list(ds)
    assert len(ds) == len(found) == rows
    for place in range(rows):
        for name, kind in kinds.items():
            check(kind, wanted[place][name], found[place][name])
            check(kind, wanted[place][name], ds.get(place)[name])
    if ParquetData(path).vectorized and not any(array.null_count for array in arrays.values()):
        batch = ParquetData(path, shuffle=True).get_batch(np.arange(rows))
        places = ParquetData(path, shuffle=True)
        for place in range(rows):
            one = places.get(place)
            for name in kinds:
                assert batch[name][place] == one[name] or one[name] != one[name]
