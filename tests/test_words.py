"""The words of the code: descriptions that stand alone, and names that were given up."""

import ast
import inspect
import io
import re
import tokenize
from dataclasses import is_dataclass
from pathlib import Path

import click
import pytest

import eckart
from eckart.terminal.console import PARAMETER, spelled

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


TERMINAL = ("commands.py", "_command.py", "options.py", "main.py", "html.py", "demo.py",
            "console.py", "documents.py", "factor/report.py", "settings.py")  # fmt: skip
"""Ends of the names of files that belong to the command line, or write one, or a style sheet."""
FLAG = re.compile(r"(?<![\w-])--(?:[a-z]|$)")


def messages(path):
    """The texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    said = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


LIBRARY = [path for path in SOURCES if not str(path).endswith(TERMINAL)]


def parameters():
    """The names of the parameters of all commands."""
    from eckart.cli.main import group

    def within(command):
        if not isinstance(command, click.Group):
            return {one.name for one in command.params}
        context = click.Context(command)
        names = command.list_commands(context)
        return set().union(*(within(command.get_command(context, name)) for name in names))

    return within(group)


def test_messages_of_the_library_name_parameters_which_the_terminal_spells_as_options():
    public = [getattr(eckart, name) for name in dir(eckart)]
    called = [one for one in public if inspect.isfunction(one) or is_dataclass(one)]
    known = parameters().union(*(inspect.signature(one).parameters for one in called))
    named = set()
    for path in LIBRARY:
        for text in messages(path):
            assert "style=" in text or not FLAG.search(text), f"{path.name}: {text}"
            named |= {found[1] for found in PARAMETER.finditer(text)}
    assert {"force", "output", "index", "tensor", "memory"} <= named <= known


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Use `force=True`, or another `output`.", "Use --force, or another --output."),
        ("Taken as an index (`index=False` if not).", "Taken as an index (--no-index if not)."),
        ("Give `memory=5MB`.", "Give --memory 5MB."),
        ("A name such as `other` or a `b c` stays.", "A name such as `other` or a `b c` stays."),
        ("A name from a file: `force", "A name from a file: `force"),
    ],
)
def test_a_parameter_is_spelled_as_the_option_of_the_command(text, said):
    @click.command()
    @click.option("--force", is_flag=True)
    @click.option("-o", "--output")
    @click.option("--index/--no-index")
    @click.option("--memory")
    def command():
        """Do nothing."""

    assert spelled(text, command) == said
    assert spelled(text, None) == text
