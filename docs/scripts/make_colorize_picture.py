"""Draw the README's picture: each held-out photograph in gray, as a run colours it, and as it is.

python docs/scripts/make_colorize_picture.py train_log/colorize docs/images/colorize.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

COLORIZE = Path(__file__).parents[2] / "examples" / "colorize"
HEIGHT = 220  # of a row, in pixels


def main(run: str, target: str) -> None:
    """Write the picture."""
    sys.path.insert(0, str(COLORIZE))
    from predict import colorize, load

    predictor, size = load(run)
    rows = []
    for path in sorted((COLORIZE / "photos/valid").glob("*.jpg")):
        picture = cv2.imread(str(path))
        picture = cv2.resize(picture, (HEIGHT * 3 // 2, HEIGHT), interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        coloured = colorize(np.ascontiguousarray(picture[..., ::-1]), predictor, size)[..., ::-1]
        rows.append(np.concatenate([gray, coloured, picture], axis=1))
    cv2.imwrite(target, np.concatenate(rows), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main(*sys.argv[1:])
