"""One table from seven kinds of sources: NumPy, pandas, a generator, CSV, text, files, TFRecords.

python examples/tf_summary/sources.py FOLDER     # writes small files there, reads each of them, prints what comes

Each function gives a dataflow of [x: float32 (4,), y: int], so all that follows is the same for all of them:
`ft.BatchData(flow, 32)`, shuffling, worker processes, training.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

import flowtrain as ft
from flowtrain.cli.options import Command

COLUMNS = ["a", "b", "c", "d"]


def table(rows: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Points of two Gaussian clusters in four dimensions: x float32 (rows, 4), y int64 (rows,)."""
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 2
    return (rng.normal(size=(rows, 4)) + 2 * y[:, None]).astype(np.float32), y


def from_numpy(x: np.ndarray, y: np.ndarray, shuffle: bool = False) -> ft.DataFlow:
    """Arrays, in memory or memory-mapped: whole batches are gathered at once."""
    return ft.DataFromArrays(x, y, shuffle=shuffle)


def from_pandas(frame, shuffle: bool = False) -> ft.DataFlow:
    """A DataFrame: its rows are dicts by column, which a function maps to [x, y]."""
    return ft.MapData(ft.DataFromPandas(frame, shuffle=shuffle), row_to_xy)


def from_generator(x: np.ndarray, y: np.ndarray) -> ft.DataFlow:
    """A generator function, called anew for each epoch; it can be read only from its start."""

    def rows():
        for one, label in zip(x, y, strict=True):
            yield [one, int(label)]

    return ft.DataFromGenerator(rows)


def from_csv(path: str | Path, shuffle: bool = False) -> ft.DataFlow:
    """A CSV file with typed columns; any row can be read alone, so the whole file is shuffled."""
    types = dict.fromkeys(COLUMNS, np.float32) | {"y": int}
    return ft.MapData(ft.CSVData(path, types, shuffle=shuffle), row_to_xy)


def from_text(path: str | Path, shuffle: bool = False) -> ft.DataFlow:
    """Lines of a text file, here numbers separated by spaces."""

    def parse(dp):
        *numbers, label = dp[0].split()
        return [np.array(numbers, np.float32), int(label)]

    return ft.MapData(ft.TextLineData(path, shuffle=shuffle), parse)


def from_files(folder: str | Path, shuffle: bool = False) -> ft.DataFlow:
    """One file a datapoint, in one folder a class: FOLDER/CLASS/*.npy."""
    ds = ft.DataFromFiles(f"{folder}/*/*.npy", labels="folder", shuffle=shuffle)
    return ft.MapDataComponent(ds, np.load, index=0)


def from_tfrecords(path: str | Path, shuffle: bool = False) -> ft.DataFlow:
    """tf.train.Examples, as TensorFlow writes them; read without TensorFlow, shuffled as a whole."""

    def parse(example):
        return [example["x"], int(example["y"][0])]

    return ft.MapData(ft.TFRecordData(path, decode="example", shuffle=shuffle), parse)


def row_to_xy(row: dict) -> list:
    return [np.array([row[name] for name in COLUMNS], np.float32), int(row["y"])]


def write_files(folder: Path, x: np.ndarray, y: np.ndarray) -> None:
    """Write the table as CSV, text, one .npy file per row, and TFRecords."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [[f"{value:.9g}" for value in one] + [str(label)] for one, label in zip(x, y, strict=True)]
    (folder / "table.csv").write_text("\n".join([",".join([*COLUMNS, "y"]), *map(",".join, rows)]) + "\n")
    (folder / "table.txt").write_text("\n".join(map(" ".join, rows)) + "\n")
    with ft.TFRecordWriter(folder / "table.tfrecord") as writer:
        for number, (one, label) in enumerate(zip(x, y, strict=True)):
            writer.write(ft.encode_example({"x": one, "y": int(label)}))
            (folder / "rows" / str(label)).mkdir(parents=True, exist_ok=True)
            np.save(folder / "rows" / str(label) / f"{number:05d}.npy", one)


def all_sources(folder: Path, rows: int = 100) -> dict[str, ft.DataFlow]:
    """Write the files, and return a flow from each source."""
    import pandas as pd

    x, y = table(rows)
    write_files(folder, x, y)
    return {
        "NumPy": from_numpy(x, y),
        "pandas": from_pandas(pd.DataFrame(x, columns=COLUMNS).assign(y=y)),
        "generator": from_generator(x, y),
        "CSV": from_csv(folder / "table.csv"),
        "text": from_text(folder / "table.txt"),
        "files": from_files(folder / "rows"),
        "TFRecords": from_tfrecords(folder / "table.tfrecord"),
    }


@click.command(cls=Command, help=__doc__)
@click.argument("folder", type=click.Path(file_okay=False))
def main(folder):
    for name, flow in all_sources(Path(folder)).items():
        x, y = next(iter(ft.BatchData(flow, 32)))
        click.echo(f"{name:10s} x {x.dtype} {x.shape}, y {y.dtype} {y.shape}, first row {x[0].round(2)} -> {y[0]}")


if __name__ == "__main__":
    main()
