from __future__ import annotations

import csv
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from flowtrain.dataflow.formats import CSVData, SVMLightData, TextLineData
from flowtrain.utils.errors import ConfigError, DataFlowError, FormatError


def put(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_lines(tmp_path):
    path = put(tmp_path / "a.txt", "\ufeffone\r\n\n  three é \nfour")
    other = put(tmp_path / "b.txt", "five\n")
    assert list(TextLineData(path)) == [["one"], [""], ["  three é "], ["four"]]
    assert list(TextLineData([path, other], skip_blank=True)) == [["one"], ["  three é "], ["four"], ["five"]]
    assert list(TextLineData([path, put(tmp_path / "c.txt", "")])) == list(TextLineData(path))
    with pytest.raises(DataFlowError, match=r"c\.txt.* holds no records"):
        list(TextLineData(tmp_path / "c.txt"))
    ds = TextLineData(tmp_path / "*.txt", shuffle=True)
    assert sorted(pickle.loads(pickle.dumps(ds))) == sorted(ds)


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]))))
def test_any_lines(tmp_path_factory, lines):
    lines = [line for line in lines if not line.startswith("\ufeff")] or ["one"]
    path = put(tmp_path_factory.mktemp("lines") / "x.txt", "".join(line + "\n" for line in lines))
    assert list(TextLineData(path)) == [[line] for line in lines]


def test_bad_text(tmp_path):
    path = put(tmp_path / "latin.txt", b"fine\ncaf\xe9\n")
    with pytest.raises(FormatError, match=r"latin\.txt, record 1: line 2 is not utf-8"):
        list(TextLineData(path))
    assert TextLineData(path, encoding="latin-1").get(1) == ["café"]
    with pytest.raises(DataFlowError, match="encoding"):
        TextLineData(path, encoding="utf-9")
    with pytest.raises(FormatError, match=r"mark of utf-16, not utf-8\. Pass encoding='utf-16'"):
        len(TextLineData(put(tmp_path / "wide.txt", "two\nlines\n".encode("utf-16"))))
    assert list(TextLineData(tmp_path / "wide.txt", encoding="utf-16")) == [["two"], ["lines"]]
    with pytest.raises(FormatError, match="is not utf-16"):
        len(TextLineData(put(tmp_path / "odd.txt", "a\n".encode("utf-16") + b"x"), encoding="utf-16"))
    with pytest.raises(FormatError, match="gunzip"):
        len(TextLineData(put(tmp_path / "x.gz", b"\x1f\x8b\x08")))
    with pytest.raises(FileNotFoundError):
        TextLineData(tmp_path / "none.txt")


PEOPLE = 'name,age,height,member\nAda,36,1.65,yes\n"Hopper, Grace",85,,no\n\n"two\nlines",1,2e3,TRUE\n'


def test_csv_types_are_found(tmp_path, same):
    put(tmp_path / "p.csv", PEOPLE)
    assert [dp["member"] for dp in CSVData(tmp_path / "p.csv")] == ["yes", "no", "TRUE"]  # no bools to pandas either
    ds = CSVData(tmp_path / "p.csv", {"name": str, "age": int, "height": float, "member": bool})
    same(ds.get(0), {"name": "Ada", "age": 36, "height": 1.65, "member": True})
    same(ds.get(1), {"name": "Hopper, Grace", "age": 85, "height": math.nan, "member": False})
    same(ds.get(2), {"name": "two\nlines", "age": 1, "height": 2000.0, "member": True})
    assert len(ds) == 3
    assert sorted(dp["age"] for dp in pickle.loads(pickle.dumps(CSVData(tmp_path / "p.csv", shuffle=True)))) == [
        1,
        36,
        85,
    ]


def test_csv_types_are_given(tmp_path, same):
    path = put(tmp_path / "p.csv", PEOPLE)
    ds = CSVData(path, {"height": np.float32, "age": "uint8", "name": len})
    same(ds.get(0), {"height": np.float32(1.65), "age": np.uint8(36), "name": 3})
    ds = CSVData(path, {"height": float}, missing={"height": -1.0})
    assert [dp["height"] for dp in ds] == [1.65, -1.0, 2000.0]


def test_csv_without_header(tmp_path):
    path = put(tmp_path / "n.csv", "1;x\n2;y\n")
    assert list(CSVData(path, header=False, delimiter=";")) == [[1, "x"], [2, "y"]]
    assert list(CSVData(path, [float, str], header=False, delimiter=";")) == [[1.0, "x"], [2.0, "y"]]
    with pytest.raises(DataFlowError, match="3 types for 2 columns"):
        len(CSVData(path, [int, str, int], header=False, delimiter=";"))


def test_csv_names_the_bad_row(tmp_path):
    path = put(tmp_path / "b.csv", 'a,b\n1,"x\ny"\n2\n3,z\nfour,u\n')
    ds = CSVData(path, {"a": int, "b": str})
    assert ds.get(0) == {"a": 1, "b": "x\ny"} and ds.get(2) == {"a": 3, "b": "z"}
    with pytest.raises(FormatError, match=r"b\.csv, record 1: line 4 has 1 cells, 2 are expected"):
        ds.get(1)
    with pytest.raises(FormatError, match=r"record 3: line 6, column 'a': 'four' is not an int"):
        ds.get(3)
    with pytest.raises(FormatError, match=r"column 'a': '' is not an int.*missing="):
        CSVData(put(tmp_path / "e.csv", "a,b\n,x\n"), {"a": int}).get(0)
    with pytest.raises(FormatError, match="never closed"):
        len(CSVData(put(tmp_path / "q.csv", 'a,b\n1,"x\n2,y\n')))
    with pytest.raises(FormatError, match="line 2"):
        CSVData(put(tmp_path / "r.csv", 'a,b\n1,"x"y\n'), {"b": str}).get(0)


def test_bad_csv_arguments(tmp_path):
    path = put(tmp_path / "p.csv", PEOPLE)
    with pytest.raises(DataFlowError, match=r"no column 'aeg'\. Did you mean 'age'"):
        len(CSVData(path, {"aeg": int}))
    with pytest.raises(DataFlowError, match="columns is a dict"):
        CSVData(path, [int])
    with pytest.raises(DataFlowError, match="columns is a list"):
        CSVData(path, {"age": int}, header=False)
    with pytest.raises(DataFlowError, match="delimiter"):
        CSVData(path, delimiter="::")
    with pytest.raises(DataFlowError, match="is no type"):
        len(CSVData(path, {"age": "integer"}))
    with pytest.raises(DataFlowError, match="no rows"):
        len(CSVData(put(tmp_path / "e.csv", "")))
    with pytest.raises(FormatError, match="one name"):
        len(CSVData(put(tmp_path / "t.csv", "a,a\n1,2\n")))
    with pytest.raises(FormatError, match="its columns are"):
        len(CSVData([path, put(tmp_path / "o.csv", "a\n1\n")]))
    with pytest.raises(DataFlowError, match=r"h\.csv: a header and no rows"):
        len(CSVData(put(tmp_path / "h.csv", "a,b\n")))
    assert len(CSVData([path, put(tmp_path / "i.csv", "name,age,height,member\n")])) == 3
    with pytest.raises(FormatError, match=r"e\.csv: an empty file"):
        len(CSVData([path, tmp_path / "e.csv"]))
    for options in ({"quoting": "''"}, {"delimiter": ";", "quoting": ";"}, {"missing": "NA"}, {"on_error": "ignore"}):
        with pytest.raises(DataFlowError, match=next(iter(options))):
            CSVData(path, **options)
    with pytest.raises(DataFlowError, match="no column 'agee'"):
        len(CSVData(path, missing={"agee": 3}))


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), min_size=1))
def test_any_cells(tmp_path_factory, rows):
    rows = [row for row in rows if "\r" not in row[0] + row[1] and "\0" not in row[0] + row[1]]
    rows = rows or [["a", "row"]]
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    assert list(CSVData(path, {"a": str, "b": str})) == [{"a": a, "b": b} for a, b in rows]


def test_csv_values_that_are_missing(tmp_path, same):
    path = put(tmp_path / "m.csv", "x,i,country,ok\n1.5,1,NA,True\nNA,,Chad,False\n?,3,,True\n")
    same([dp["x"] for dp in CSVData(path, {"x": float}, missing=["?", "NA"])], [1.5, math.nan, math.nan])
    same([dp["i"] for dp in CSVData(path)], [1.0, math.nan, 3.0])
    assert [dp["country"] for dp in CSVData(path)] == ["NA", "Chad", ""]  # Namibia
    assert [dp["country"] for dp in CSVData(path, missing=["NA"])] == ["", "Chad", ""]
    assert [dp["i"] for dp in CSVData(path, {"i": int}, missing={"i": -1})] == [1, -1, 3]
    path = put(tmp_path / "large.csv", "id,x\n9007199254740993,\n,\n")
    with pytest.raises(
        DataFlowError, match=r"'id' has whole numbers above 2\*\*53 and cells without a value.*missing="
    ):
        len(CSVData(path))
    assert [dp["id"] for dp in CSVData(path, {"id": int}, missing={"id": 0})] == [9007199254740993, 0]


def test_csv_numbers_are_written_in_ascii(tmp_path):
    path = put(tmp_path / "n.csv", "a\n1_23\n")
    for kind in (int, float, np.int32, np.float32):
        with pytest.raises(FormatError, match="'1_23' is not"):
            CSVData(path, {"a": kind}).get(0)


def test_csv_bad_rows_are_left_out_and_counted(tmp_path, caplog):
    text = 'a,b\n1,x\n2\nthree,y\n4,"z"w\n5,v\n6,caf\xe9\n'.encode("latin-1")
    ds = CSVData(put(tmp_path / "b.csv", text), {"a": int, "b": str}, on_error="skip", shuffle=True)
    assert sorted(dp["a"] for dp in ds) == [1, 5] and len(ds) == 2 and ds.skipped == 4
    assert "4 rows are left out. The first: " in caplog.text and "line 3 has 1 cells" in caplog.text
    assert len(caplog.records) == 1
    again = pickle.loads(pickle.dumps(ds))
    assert sorted(map(repr, again)) == sorted(map(repr, ds)) and again.skipped == 4 and len(caplog.records) == 1
    assert CSVData(put(tmp_path / "g.csv", "a\n1\n"), on_error="skip").skipped == 0


def test_csv_without_quotes(tmp_path):
    path = put(tmp_path / "q.tsv", 'text\tn\n"open\t1\n12" monitor\t2\nsay ""\t3\n')
    assert [dp["text"] for dp in CSVData(path, delimiter="\t", quoting=None)] == ['"open', '12" monitor', 'say ""']
    with pytest.raises(FormatError, match="pass quoting=None"):
        len(CSVData(path, delimiter="\t"))
    path = put(tmp_path / "s.csv", "a,b\n'x, ''y'' z',1\n")
    assert CSVData(path, quoting="'").get(0) == {"a": "x, 'y' z", "b": 1}
    path = put(tmp_path / "p.csv", 'a§b\n"x§y"§1\n12" m§2\n')
    assert [dp["a"] for dp in CSVData(path, delimiter="§")] == ["x§y", '12" m']


def test_csv_larger_than_a_chunk(tmp_path, monkeypatch):
    from flowtrain.dataflow.formats import lines

    rows = [[f'"{i},\r\n{"q" * (i % 7)}"', str(i)] for i in range(300)]
    expected = [{"a": f"{i},\r\n{'q' * (i % 7)}", "b": i} for i in range(300)]
    for end in ("\n", "\r\n", "\r"):
        path = put(tmp_path / "x.csv", end.join(["a,b", *map(",".join, rows)]) + end)
        for size in (5, 16, 61, 1 << 24):
            monkeypatch.setattr(lines, "_CHUNK", size)
            ds = CSVData(path)
            assert list(ds) == expected


@pytest.mark.parametrize("label", ["1_2", "\uff11", "\u0663"])
def test_svmlight_labels_are_of_digits_alone(tmp_path, label):
    path = tmp_path / "x.svm"
    path.write_text(f"{label} 1:2\n", encoding="utf-8")
    for kind in (int, float):
        with pytest.raises(FormatError, match="only the digits 0 to 9 make a number"):
            SVMLightData(path, 1, label=kind).get(0)
    assert SVMLightData(path, 1, label=str).get(0)[1] == label


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "12"])
def test_svmlight_takes_a_whole_number_of_features(tmp_path, wrong):
    (tmp_path / "x.svm").write_text("1 1:2\n")
    with pytest.raises(ConfigError, match="SVMLightData: num_features must be a whole number of at least 1"):
        SVMLightData(tmp_path / "x.svm", wrong)


def test_svmlight_agrees_with_sklearn(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 7)) * (rng.random((20, 7)) > 0.5)
    y = rng.integers(-1, 2, 20)
    path = tmp_path / "x.svm"
    dump_svmlight_file(x, y, str(path), zero_based=False, query_id=np.arange(20), comment="made up")
    theirs, labels = load_svmlight_file(str(path), zero_based=False)
    ds = SVMLightData(path, dtype=np.float64)
    assert ds.get(0)[0].dtype == np.float64 and type(ds.get(0)[1]) is float
    np.testing.assert_allclose(np.stack([dp[0] for dp in ds]), theirs.toarray())
    assert [dp[1] for dp in ds] == labels.tolist()
    assert SVMLightData(path, 100, label=int).get(3)[0].shape == (100,)
    assert type(SVMLightData(path, label=int).get(3)[1]) is int
    assert len(pickle.loads(pickle.dumps(SVMLightData(path, shuffle=True)))) == 20


def test_bad_svmlight(tmp_path):
    path = put(tmp_path / "x.svm", "# head\n1 1:2 3:4\n\n-1\n1 0:1\n1 3:1 2:1\n1 x:1\none 1:1\n1 9:1\n")
    ds = SVMLightData(path, 3)
    assert ds.get(0)[0].tolist() == [2, 0, 4] and ds.get(1)[0].tolist() == [0, 0, 0]
    wrong = {
        2: "line 5: the index 0 .*zero_based",
        3: "line 6: the indices do not rise",
        4: "line 7: index:value",
        5: "line 8: .*label",
        6: "line 9: the index 9",
    }
    for index, message in wrong.items():
        with pytest.raises(FormatError, match=message):
            ds.get(index)
    with pytest.raises(ConfigError, match="at least 1"):
        SVMLightData(path, 0)


@pytest.mark.parametrize("line", ["1_0 1:2", "1 1_0:2", "1 1:2_0"])
def test_svmlight_numbers_are_of_digits_alone(line, tmp_path):
    (tmp_path / "x").write_text(line + "\n")
    with pytest.raises(FormatError, match=r"line 1: .*only the digits 0 to 9 make a number"):
        list(SVMLightData(tmp_path / "x"))


def test_a_column_of_very_long_digits_is_text(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n" + "7" * 5000 + ",1\n")
    assert list(CSVData(tmp_path / "x.csv")) == [{"a": "7" * 5000, "b": 1}]
