"""The public names: those of the stub, each documented, each on the reference page."""

import ast
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


@pytest.mark.parametrize(
    ("before", "now"), [("Offset", "BiasedFactors"), ("Samples", "PosteriorSamples")]
)
def test_a_name_of_before_goes_on_and_says_the_new_one(before, now):
    with pytest.warns(FutureWarning, match=f"eckart.{now}"):
        assert getattr(eckart, before) is getattr(eckart, now)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = eckart.nonsense


def test_no_public_name_is_that_of_a_module():
    """A module of that name would take the place of the function as soon as it is imported."""
    folder = ROOT / "src" / "eckart"
    assert not {path.stem for path in folder.iterdir()} & set(NAMES)
