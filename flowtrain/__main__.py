"""``python -m flowtrain``: runs the command ``flowtrain`` even if its folder is not on the PATH."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="flowtrain")
