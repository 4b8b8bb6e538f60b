"""The words of the code: descriptions that stand alone, and names that were given up."""

import io
import re
import tokenize
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[1] / "src").rglob("*.py"))
STUB = re.compile(r"^ +(?! |\w*Error\b)[\w, `]+: (?:Of |The same|As for|As `\w+`\.)", re.MULTILINE)
"""A description of a field or an argument that cannot be read without those around it."""
GIVEN_UP = {
    "Claim", "Companion", "Ending", "Equations", "Evidence", "Finding", "GivenSpace", "Iterative",
    "Likeness", "ObservedProblem", "ObservedSolver", "Offset", "Placing", "Probing", "Riding",
    "Samples", "StoredDType", "StoredDtype", "Survey", "Watched", "Widening", "begun_with",
    "of_nothing", "remedy",
}  # fmt: skip
"""Names that a reader from the field would not know, which have others now."""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "/".join(path.parts[-2:]))
def test_descriptions_stand_alone_and_names_are_those_of_the_field(path):
    text = path.read_text("utf-8")
    assert [found.group(0).strip() for found in STUB.finditer(text)] == []
    words = tokenize.generate_tokens(io.StringIO(text).readline)
    assert {word.string for word in words if word.type == tokenize.NAME} & GIVEN_UP == set()
