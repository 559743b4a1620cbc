"""The table of names holds names that exist, and every name that there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import flowtrain.dataflow as df
from flowtrain.utils.old_names import OLD_NAMES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "dataflow-names.md"
OURS = re.compile(r"\b((?:[A-Z][A-Za-z0-9]*Data|DataFrom[A-Z]\w*|Image[A-Z]\w*|TestDataSpeed)[A-Za-z]*)\b")


def _middle_column():
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|") and len(cells) >= 2 and not cells[0].startswith("---"):
            yield cells[1]


def test_the_names_in_the_table_exist():
    found = {name for cell in _middle_column() for name in OURS.findall(cell)}
    assert len(found) > 30
    assert found <= set(df.__all__)


def test_every_stage_is_in_the_table():
    text = PAGE.read_text()
    classes = {name: getattr(df, name) for name in df.__all__ if inspect.isclass(getattr(df, name))}
    absent = {name for name, cls in classes.items() if name not in text and not issubclass(cls, Exception)}
    assert absent <= {"Cifar100", "FashionMnist"}


def test_old_names_are_not_todays():
    assert not set(OLD_NAMES) & set(df.__all__)
    for today in OLD_NAMES.values():
        for name in OURS.findall(today):
            assert name in df.__all__
