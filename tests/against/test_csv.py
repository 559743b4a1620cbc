"""CSVData beside pandas.read_csv: generated files are read alike, or CSVData raises the error that its page names."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flowtrain.dataflow.formats import CSVData
from flowtrain.utils.errors import DataFlowError, FormatError

from .tries import tries


def theirs(content: bytes, **options):
    """The rows as pandas reads them; missing strings as flowtrain has them."""
    frame = pd.read_csv(io.BytesIO(content), **options)
    return [dict(zip(frame.columns, row, strict=True)) for row in zip(*(frame[c] for c in frame), strict=True)], frame


def agrees(path, content: bytes, pandas_options=None, **options) -> None:
    path.write_bytes(content)
    try:
        expected, frame = theirs(content, **(pandas_options or {}))
        failed = None
    except Exception as error:
        failed = error
    try:
        found = list(CSVData(path, **options))
    except DataFlowError:
        return  # documented: names file, line and column
    assert failed is None, (content, found, failed)
    assert len(found) == len(expected), (content, found, expected)
    for ours, row in zip(found, expected, strict=True):
        assert list(map(str, ours)) == list(map(str, row)), content
        for name, value in row.items():
            one = ours[name]
            is_text = not pd.api.types.is_numeric_dtype(frame[name].dtype)
            if isinstance(one, str):
                # a column of text keeps it; pandas makes nan of its words, and True of text in a column with gaps
                kind = frame[name].dtype
                assert not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind), (content, name)
                assert pd.isna(value) or str(value) == one or str(value).lower() == one.lower(), (content, one, value)
            elif isinstance(one, float) and math.isnan(one):
                assert pd.isna(value) or is_text, (content, name)  # see the next case
            elif isinstance(one, float) and isinstance(value, str):
                # pandas keeps text where 2**63 stands above -0.0: a float is as good where no whole number is rounded
                assert float(value) == one, (content, one, value)
                assert not value.lstrip("-").isdigit() or int(value) == one, (content, one, value)
            else:
                assert type(one)(value) == one and value == one, (content, one, value)
                assert isinstance(value, (bool, np.bool_)) == isinstance(one, bool)


words = st.sampled_from(
    ["", "NA", "nan", "NULL", "None", "N/A", "null", "NAN", "inf", "-inf", "Infinity", "F", "T", "t", "yes", "no"]
    + ["True", "False", "TRUE", "true", "tRue", "0", "1", "01", "-0", "+5", " 7", "7 ", "1_23", "1.", ".5", ".", "1e5"]
    + [
        "1E-3",
        "1e",
        "0x10",
        "1,5",
        "१२",
        "\uff11\uff12",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
    ]
    + ["18446744073709551615", "18446744073709551616", "-9223372036854775809", "1e400", "2021-01-05", "2021_01_05"]
    + ['12" monitor', 'a "quoted" word', '"', '""', "two\nlines", "a\rb", "tab\there", "é", " ", "#", "-", "--1", "1-2"]
)
cells = st.one_of(words, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6))
numbers = st.one_of(
    st.integers().map(str), st.floats().map(repr), st.integers(-5, 5).map(str), st.sampled_from(["", "NA", "nan", "7"])
)
columns = st.one_of(
    st.lists(numbers, min_size=1, max_size=5), st.lists(cells, min_size=1, max_size=5), st.lists(words, min_size=1)
)


def text_of(rows, **dialect) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, **dialect).writerows(rows)
    return file.getvalue()


@tries(250)
@given(
    st.lists(columns, min_size=1, max_size=3),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.booleans(),
)
def test_well_formed_files(tmp_path_factory, columns, end, quoting, bom):
    height = min(map(len, columns))
    rows = [
        [f"c{i}" for i in range(len(columns))],
        *(list(row) for row in zip(*(c[:height] for c in columns), strict=True)),
    ]
    content = text_of(rows, lineterminator=end, quoting=quoting).encode()
    agrees(tmp_path_factory.mktemp("csv") / "x.csv", (b"\xef\xbb\xbf" if bom else b"") + content)


raw = st.lists(
    st.sampled_from([b",", b"\n", b"\r", b"\r\n", b'"', b'""', b'",', b',"', b"a", b"1", b" ", b"\t", b"NA", b"x y"]),
    max_size=25,
).map(b"".join)


@tries(250)
@given(raw)
def test_any_bytes_of_csv(tmp_path_factory, content):
    assume(b"\r," not in content)  # pandas takes the empty cell after a CR alone for a part of the line break
    agrees(tmp_path_factory.mktemp("csv") / "x.csv", b"a,b\n" + content)


@tries(150)
@given(raw.map(lambda content: content.replace(b",", b"\t")))
def test_without_quoting(tmp_path_factory, content):
    assume(b"\r\t" not in content)
    options = {"sep": "\t", "quoting": csv.QUOTE_NONE}
    agrees(tmp_path_factory.mktemp("csv") / "x.tsv", b"a\tb\n" + content, options, delimiter="\t", quoting=None)


@tries(100)
@given(
    st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1), st.sampled_from(["utf-16", "utf-16-le", "utf-32"])
)
def test_wide_encodings(tmp_path_factory, rows, encoding):
    content = text_of([["a", "b"], *rows], lineterminator="\n").encode(encoding)
    agrees(tmp_path_factory.mktemp("csv") / "x.csv", content, {"encoding": encoding}, encoding=encoding)


@tries(100)
@given(st.lists(st.sampled_from(["?", "-999", "", "NA", "5", "2.5", "x"]), min_size=1, max_size=6))
def test_words_of_ones_own(tmp_path_factory, texts):
    content = text_of([["a", "i"], *([text, i] for i, text in enumerate(texts))], lineterminator="\n").encode()
    options = {"na_values": ["?", "-999"], "keep_default_na": False}
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_bytes(content)
    frame = pd.read_csv(path, na_values=["?", "-999", ""], keep_default_na=False)
    found = [row["a"] for row in CSVData(path, missing=options["na_values"])]
    for one, value in zip(found, frame["a"], strict=True):
        assert (one in ("",) or one != one) if pd.isna(value) else one == value, (texts, found)


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1_23,0\n12_3,1\n",
        b"a,b\n2021_01_05,x\n",
        "a,b\n१२,1\n".encode(),
        b"sex,b\nF,1\nF,2\n",
        b"a,b\nNA,1\n1.5,2\n",
        b"a,b\nNA,1\n1,2\n",
        b"a,b\r1,x\r2,y\r",
        b'a,b\n12" monitor,1\n15" monitor,0\n',
        b'a,b\n"x ""y"" z",1\n',
        b'a,b\n"two\r\nlines",1\n',
        b"a,b\n   \n1,2\n",
        b"zip,b\n01234,1\n",
        b"a,b\n18446744073709551615,1\n",
        b"a,b\n18446744073709551616,1\n",
        b"a,b\n,\n,\n",
    ],
)
def test_found_before(tmp_path, content):
    agrees(tmp_path / "x.csv", content)


def test_a_guess_holds_for_all_rows(tmp_path):
    """A bool that is guessed from the first rows makes none of a later 1, which pandas would not either."""
    path = tmp_path / "x.csv"
    path.write_text("a\n" + "True\n" * 3000 + "1\n")
    with pytest.raises(FormatError, match="line 3002, column 'a': '1' is not a bool"):
        list(CSVData(path))
    assert list(CSVData(path, columns={"a": bool}))[-1] == {"a": True}


@pytest.mark.parametrize(
    ("kind", "cell"), [(np.float32, "1e300"), ("float16", "70000"), (np.uint8, "256"), (int, "1.5")]
)
def test_a_cell_beyond_its_dtype(tmp_path, kind, cell):
    path = tmp_path / "x.csv"
    path.write_text(f"a\n{cell}\n")
    with pytest.raises(FormatError, match=f"line 2, column 'a': '{cell}' is not"):
        list(CSVData(path, columns={"a": kind}))
    path.write_text("a\n-inf\n")
    assert list(CSVData(path, columns={"a": np.float32})) == [{"a": -np.inf}]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b'a,b\n1,"1\n"\n2," 2\r\n"\n', [1, 2]),  # ASCII's white space around a number
        (b"a,b\n1,-0\n2,9223372036854775808\n", ["-0", "9223372036854775808"]),  # neither int64 nor uint64
        (b"a,b\n1,0\n2,9223372036854775808\n", [0, 9223372036854775808]),
    ],
)
def test_whole_numbers_as_pandas_reads_them(tmp_path, content, wanted):
    agrees(tmp_path / "x.csv", content)
    assert [row["b"] for row in CSVData(tmp_path / "x.csv")] == wanted
