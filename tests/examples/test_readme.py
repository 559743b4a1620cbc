"""The table of examples/README.md names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import flowtrain as ft

README = Path(__file__).parents[2] / "examples/README.md"
TEXT = README.read_text(encoding="utf-8")
COMMANDS = re.findall(r"`python (examples/(\w+)/(\w+)\.py[^`]*)`", TEXT)


@pytest.mark.parametrize(("line", "example", "script"), COMMANDS)
def test_commands_and_their_options_are_there(load, line, example, script):
    command, words = load(example, script).main, line.split()[1:]
    if isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known
    needed = [parameter for parameter in command.params if isinstance(parameter, click.Argument) and parameter.required]
    plain = [
        word for before, word in zip(["", *words], words, strict=False)
        if not word.startswith("--") and not before.startswith("--")
    ]  # fmt: skip
    assert len(plain) == len(needed)


def test_links_and_names_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (README.parent / target).exists(), target
    names = re.findall(r"`flowtrain\.(\w+)", TEXT) + re.findall(r"`([A-Z]\w+(?:Data|Setter|Desc|Metrics?))\b", TEXT)
    assert len(names) > 10
    for name in names:
        getattr(ft, name)


def test_options_that_stand_alone_belong_to_a_script_of_their_table(load):
    for section in TEXT.split("\n## ")[1:]:
        scripts = set(re.findall(r"`python examples/(\w+)/(\w+)\.py", section))
        known = {"--rfield", "--efield", "--field"}
        for example, script in scripts:
            main = load(example, script).main
            for command in main.commands.values() if isinstance(main, click.Group) else [main]:
                known |= {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", section)) <= known
