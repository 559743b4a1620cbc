"""``python -m flowtrain.cli``."""

from . import main

main()
