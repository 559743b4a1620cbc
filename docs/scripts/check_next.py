"""Run the tests and say what breaks: for versions of Keras and TensorFlow that flowtrain does not promise yet.

python docs/scripts/check_next.py [PYTEST ARGUMENTS]

Run by ``make check-next`` in an environment with the newest of both. First come the tests that name what flowtrain
uses of their internals: each says which use no longer holds.
"""

from __future__ import annotations

import importlib.metadata as metadata
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INTERNALS = "tests/model/test_internals.py"


def run(*arguments: str) -> tuple[int, list[str]]:
    """Run pytest; its exit code, and one line for each failure."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-W", "ignore::DeprecationWarning", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if re.match(r"(FAILED|ERROR) ", line)]
    print(done.stdout.splitlines()[-1] if done.stdout.strip() else done.stderr[-2000:])
    return done.returncode, lines


def main(arguments: list[str]) -> int:
    """Print the versions, then what breaks, by the folder of its tests."""
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("tensorflow", "keras", "numpy", "flowtrain")))
    promised = [text for text in metadata.requires("flowtrain") or () if re.match(r"(tensorflow|keras)\b", text)]
    print(f"flowtrain promises: {', '.join(promised)}\n\n{INTERNALS}:")
    internal, broken = run(INTERNALS)
    print("\n".join(broken) if broken else "all that flowtrain uses of their internals is as it was", "\n\nall tests:")
    code, broken = run("-n", "2", "--dist", "loadgroup", *arguments)
    folders: dict[str, list[str]] = {}
    for line in broken:
        folders.setdefault("/".join(line.split()[1].split("::")[0].split("/")[:2]), []).append(line)
    for folder, lines in sorted(folders.items()):
        print(f"\n{folder}: {len(lines)}", *lines, sep="\n  ")
    print("\nnothing breaks" if not (code or internal) else f"\n{len(broken)} tests break")
    return int(bool(code or internal))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
