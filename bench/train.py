"""How fast training is, beside Keras and hand-written loops, in one run: python bench/train.py [case ...]

Each ratio is the median of several alternating rounds, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from train_beside import feed, fetch, importing, save
from train_first import first_step, predict
from train_steps import mlp, unet, xla


def replicas() -> None:
    subprocess.run([sys.executable, Path(__file__).with_name("train_replicas.py")], check=True)


CASES = {
    "mlp": mlp, "unet": unet, "xla": xla, "fetch": fetch, "feed": feed, "save": save, "replicas": replicas,
    "first-step": first_step, "predict": predict, "import": importing,
}  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    for case in parser.parse_args().cases or list(CASES):
        CASES[case]()
