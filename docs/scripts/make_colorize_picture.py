"""Draw the README's picture: each photograph that the demo holds out, in gray, as a run colours it, and as it is.

python docs/scripts/make_colorize_picture.py train_log/colorize docs/images/colorize.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

COLORIZE = Path(__file__).parents[2] / "examples" / "colorize"
HEIGHT = 132  # of a row, in pixels


def main(run: str, target: str) -> None:
    """Write the picture."""
    sys.path.insert(0, str(COLORIZE))
    from predict import colorize, load
    from train import demo_files

    predictor, size = load(run)
    columns = []
    for path in demo_files()[1]:
        picture = cv2.imread(str(path))
        gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        coloured = colorize(np.ascontiguousarray(picture[..., ::-1]), predictor, size)[..., ::-1]
        shown = (gray, coloured, picture)
        width = HEIGHT * 3 // 2
        columns.append(
            np.concatenate([cv2.resize(one, (width, HEIGHT), interpolation=cv2.INTER_AREA) for one in shown])
        )
    cv2.imwrite(target, np.concatenate(columns, axis=1), [cv2.IMWRITE_JPEG_QUALITY, 90])


if __name__ == "__main__":
    main(*sys.argv[1:])
