"""Every block of README, tutorial and how-tos runs, in order, as it stands."""

import re
import shutil
import sys

import pytest

from .pages import DOCS, ROOT, blocks, run, toctree

TUTORIAL = [DOCS / f"{name}.md" for name in toctree(DOCS / "index.md") if name.startswith("tutorial/")]
HOWTO = sorted(
    page for page in (DOCS / "howto").glob("*.md") if page.stem != "ray"
)  # run by the tests that have a cluster
EXTEND = sorted((DOCS / "extend").glob("*.md"))


@pytest.fixture
def names(tmp_path, photos, monkeypatch):
    """Where a reader stands: a folder with photographs, and an empty session."""
    for part, count in (("train", 8), ("valid", 2)):
        (tmp_path / "photos" / part).mkdir(parents=True)
        for path in sorted((photos / part).glob("*.jpg"))[:count]:
            shutil.copy(path, tmp_path / "photos" / part)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [""])
    return {"__name__": "__main__"}


def test_the_tutorial_is_one_story(names, tmp_path):
    for path in sorted((tmp_path / "photos" / "train").glob("*.jpg"))[3:]:
        path.unlink()  # from three photographs
    assert [run(page, names) for page in TUTORIAL] == [len(blocks(page)) for page in TUTORIAL]
    assert (tmp_path / "coloured.jpg").stat().st_size > 0 and (tmp_path / "colorize_model" / "saved_model.pb").exists()


def test_the_readme(names, tmp_path, capfd):
    assert run(ROOT / "README.md", names) > 2
    assert list((tmp_path / "train_log").glob("*/checkpoints/step-*"))
    printed = capfd.readouterr().out
    for line in (line for _, code in blocks(ROOT / "README.md", "") for line in code.splitlines() if "ndarray" in line):
        assert line.split(" with range")[0] in printed  # the shapes that README shows


@pytest.mark.parametrize("page", [page for page in HOWTO if blocks(page)], ids=lambda page: page.stem)
def test_the_how_tos(names, page):
    run(page, names)


def test_the_landing_page(names):
    assert run(DOCS / "index.md", names) == 1
    assert names["trainer"].epoch_num == 5


@pytest.mark.parametrize("page", EXTEND, ids=lambda page: page.stem)
def test_the_pages_about_extending(names, page):
    """Each holds the asserts that show what it says."""
    assert run(page, names) > 0


def test_the_files_that_the_architecture_names_are_there():
    """Paths below flowtrain/, and what is said to be in one."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    files = re.findall(r"`([\w/]+/\w+\.py)`|`(__init__\.pyi?)`", text)
    assert len(files) > 30
    for name in (first or second for first, second in files):
        assert (ROOT / "flowtrain" / name).exists() or (ROOT / name).exists(), name
    for line, words in (
        ("the order of a training epoch", ("training/loop.py", "class Loop")),
        ("a worker died", ("ipc/pool.py", "WorkerDied(")),
        ("a checkpoint is written", ("model/checkpoint_io.py", "class CheckpointWriter")),
        ("the order of the data", ("dataflow/core/rng.py", "class Permutation")),
        ("how a run is resumed", ("training/run_state.py", "def resume")),
    ):
        row = next(row for row in text.splitlines() if row.startswith("|") and line in row)
        assert words[0] in row and words[1] in (ROOT / "flowtrain" / words[0]).read_text(encoding="utf-8")


def test_every_page_is_listed_and_every_link_leads_somewhere():
    listed = set(toctree(DOCS / "index.md"))
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md") if "_build" not in page.parts}
    assert pages - listed - {"index"} - {name for name in pages if name.split("/")[0] == "reference"} == set()
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md"), *ROOT.glob("examples/*/*.md")]:
        if "_build" in page.parts:
            continue
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            there = page.parent / target
            assert there.exists() or there.with_suffix(".md").exists(), f"{page}: {target}"


def test_tables_are_whole():
    """A blank line inside a table ends it: what follows is no table."""
    for page in DOCS.rglob("*.md"):
        lines = page.read_text(encoding="utf-8").splitlines()
        for number, (above, line) in enumerate(zip([""] + lines, lines, strict=False)):
            starts = line.startswith("|") and not above.startswith("|")
            if starts:
                assert set(lines[number + 1]) <= set("|-: "), f"{page}:{number + 1} is a row without a table"
