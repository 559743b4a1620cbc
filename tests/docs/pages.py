"""The code in the documentation, as a reader would paste it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str = "python") -> list[tuple[int, str]]:
    """(line, code) of each block of a language."""
    text = page.read_text(encoding="utf-8")
    return [
        (text[: found.start()].count("\n") + 2, found[2]) for found in _BLOCK.finditer(text) if found[1] == language
    ]


def run(page: Path, names: dict) -> int:
    """Run a page's Python blocks in order; an error names the page's line. Returns how many there are."""
    found = blocks(page)
    for line, code in found:
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), names)
    return len(found)


def toctree(page: Path) -> list[str]:
    """The pages that a page's toctrees list."""
    listed = []
    for body in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        listed += [line for line in body.splitlines() if line and not line.startswith(":")]
    return listed
