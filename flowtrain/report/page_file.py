"""Writes the report as one HTML file that needs no other file and no network."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from flowtrain.utils.arguments import names_arguments

from ..utils.errors import ConfigError
from ..utils.optional import require
from ..utils.storage import is_url, writing_to
from .content import content_of
from .folder import run_path

__all__ = ["render", "write_report"]


@names_arguments
def write_report(
    runs: Sequence[str | Path], path: str | Path = "report.html", *, images: int = 24, refresh: float = 0.0
) -> Path | str:
    """Write an HTML page that compares runs: curves, pictures, settings, times.

    The page contains its data and the script that draws them (plotly.js, about 5 MB): it opens from a file without a
    network and can be sent by mail.

    Args:
        runs: Log folders of the runs.
        path: The HTML file, or its URL; replaced as a whole.
        images: How many pictures of a kind to keep of each run, evenly spaced over its steps.
        refresh: Seconds after which the page reloads itself; 0: never.

    Returns:
        The path.

    Raises:
        ConfigError: One of the folders holds no run, or none is given.
        MissingPackage: plotly is not installed: ``pip install 'flowtrain[report]'``.

    Example:
        >>> write_report(["train_log/colorize"], "report.html")              # doctest: +SKIP
    """
    if not runs:
        raise ConfigError("a report needs the log folder of at least one run")
    script = plotly_script()
    page = render(content_of([run_path(run) for run in runs], images), script, refresh)
    with writing_to(path) as beside:
        beside.write_text(page, encoding="utf-8")
    return str(path) if is_url(path) else Path(path)


def plotly_script() -> str:
    """The source of plotly.js, from the Python package."""
    return require("plotly.offline", extra="report", needed_for="flowtrain report").get_plotlyjs()


def render(content: Mapping[str, Any], plotly: str, refresh: float = 0.0) -> str:
    """Put content, style and scripts into the page."""
    folder = resources.files("flowtrain.report") / "page"
    data = json.dumps(content, allow_nan=False, separators=(",", ":"))
    parts = {
        "title": html.escape(str(content["title"])),
        "refresh": f"{refresh:g}",
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "content": data.replace("<", "\\u003c"),  # else "</script>" in a run's name would end the script element
        "plotly": plotly.replace("</script", "<\\/script"),  # the same text to JavaScript, and no end tag to HTML
        "script": (folder / "page.js").read_text(encoding="utf-8"),
    }
    # One pass over the template, not a replacement of each "@part@" after the other: content that was put in (a run's
    # settings, plotly's source) may contain "@script@" itself.
    pieces = (folder / "page.html").read_text(encoding="utf-8").split("@")
    return "".join(parts.get(piece, f"@{piece}") if index % 2 else piece for index, piece in enumerate(pieces))
