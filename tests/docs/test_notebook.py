"""The notebook runs from its first cell to its last."""

import nbformat
from nbclient import NotebookClient

from .pages import DOCS, ROOT


def test_the_colorize_notebook(tmp_path, photos, monkeypatch):
    monkeypatch.setenv("PHOTOS", str(photos))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(DOCS / "notebooks" / "colorize.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    kinds = [set(output.get("data", {})) for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in kind for kind in kinds) == 4  # the data sheet, two rows of pictures, the curves
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "dp 1: is ndarray of shape (8, 64, 64, 2)" in printed and "resumed from" in printed
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == "error"
    ]
