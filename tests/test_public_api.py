"""The public names: those of the stub, each documented, each on the reference page."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import eckart

ROOT = Path(__file__).parents[1]
STUB = ast.parse((ROOT / "src" / "eckart" / "__init__.pyi").read_text("utf-8"))
NAMES = sorted(
    alias.asname
    for node in STUB.body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
    if alias.asname
)


def test_the_stub_and_the_module_list_the_same_names():
    assert [name for name in dir(eckart) if name != "__version__"] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there_documented_and_on_the_reference_page(name):
    assert (getattr(eckart, name).__doc__ or "").strip()
    assert f"`{name}" in (ROOT / "docs" / "python.md").read_text("utf-8")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = eckart.nonsense


def test_no_module_is_hidden_by_the_function_that_factors():
    """`import eckart.factorization.NAME as module` gives the function where both have one name."""
    package = import_module("eckart.factorization")
    names = [path.stem for path in Path(str(package.__file__)).parent.glob("*.py")]
    assert "factorize" not in names
    assert callable(package.factorize)
