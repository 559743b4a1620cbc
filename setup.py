"""What pyproject.toml cannot say: the description that a package index shows.

An index shows README.md alone, so that a link into the repository leads nowhere there. With a ``Source`` among
``[project.urls]`` such links are made to lead to it; while the project has none, they become plain text.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent


def description() -> str:
    """README.md for an index."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    urls = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    source = urls.get("Source", "").rstrip("/")

    def link(found: re.Match) -> str:
        mark, name, target = found.groups()
        if "://" in target:
            return found[0]
        if source:
            return f"{mark}[{name}]({source}/{'raw' if mark else 'blob'}/main/{target})"
        return "" if mark else name  # a picture that is not there; words that lead nowhere

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", link, text)


setup(long_description=description(), long_description_content_type="text/markdown")
