"""The letters of the equations: one list, in the docs and in the linter."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_notation_page_and_the_linter_allow_the_same_letters():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    allowed = set(settings["tool"]["ruff"]["lint"]["pep8-naming"]["ignore-names"])
    page = (ROOT / "docs" / "notation.md").read_text("utf-8")
    letters = re.findall(r"^\| (`.+?`) \|", page, re.M)
    assert {letter for cell in letters for letter in re.findall(r"`(\w+)`", cell)} == allowed
