"""The picture in the docs: its script shows every public augmentor."""

import importlib.util
import inspect
from pathlib import Path

import cv2
import numpy as np

from flowtrain.dataflow import imgaug

SCRIPT = Path(__file__).resolve().parents[3] / "docs/scripts/make_augmentor_sheet.py"


def test_the_sheet_leaves_none_out_and_can_be_drawn(tmp_path):
    spec = importlib.util.spec_from_file_location("make_augmentor_sheet", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    shown = {type(augmentor).__name__ for _, augmentor, _ in script.augmentors()}
    public = {
        name
        for name in imgaug.__all__
        if inspect.isclass(getattr(imgaug, name)) and issubclass(getattr(imgaug, name), imgaug.Augmentor)
    }
    assert public - shown == {"Augmentor", "Albumentations"}
    script.draw(tmp_path / "sheet.png")
    drawn = cv2.imread(str(tmp_path / "sheet.png"))
    kept = cv2.imread(str(SCRIPT.parents[1] / "images/augmentors.png"))
    assert drawn.shape == kept.shape and np.std(drawn) > 20
