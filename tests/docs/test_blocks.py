"""Every block of README, tutorial and how-tos runs, in order, as it stands."""

import shutil
import sys

import pytest

from .pages import DOCS, ROOT, blocks, run, toctree

TUTORIAL = [DOCS / f"{name}.md" for name in toctree(DOCS / "index.md") if name.startswith("tutorial/")]
HOWTO = sorted((DOCS / "howto").glob("*.md"))


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


@pytest.mark.timeout(400)
def test_the_tutorial_is_one_story(names, tmp_path):
    for path in sorted((tmp_path / "photos" / "train").glob("*.jpg"))[3:]:
        path.unlink()  # from three photographs
    assert [run(page, names) for page in TUTORIAL] == [len(blocks(page)) for page in TUTORIAL]
    assert (tmp_path / "coloured.jpg").stat().st_size > 0 and (tmp_path / "colorize_model" / "saved_model.pb").exists()


@pytest.mark.timeout(400)
def test_the_readme(names, tmp_path, capfd):
    assert run(ROOT / "README.md", names) > 2
    assert list((tmp_path / "train_log").glob("*/checkpoints/step-*"))
    printed = capfd.readouterr().out
    for line in (line for _, code in blocks(ROOT / "README.md", "") for line in code.splitlines() if "ndarray" in line):
        assert line.split(" with range")[0] in printed  # the shapes that README shows


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [page for page in HOWTO if blocks(page)], ids=lambda page: page.stem)
def test_the_how_tos(names, page):
    run(page, names)


def test_every_page_is_listed_and_every_link_leads_somewhere():
    import re

    listed = set(toctree(DOCS / "index.md"))
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md") if "_build" not in page.parts}
    assert (
        pages - listed - {"index"} - {name for name in pages if name.split("/")[0] in ("extend", "reference")} == set()
    )
    for page in [ROOT / "README.md", *DOCS.rglob("*.md"), *ROOT.glob("examples/*/*.md")]:
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
