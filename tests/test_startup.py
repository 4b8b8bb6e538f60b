"""What `import eckart` loads: nothing but itself, so that every start is quick."""

import subprocess
import sys

import pytest

import eckart


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded in a fresh interpreter after it ran some code."""
    script = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    return set(done.stdout.split())


def test_importing_the_library_loads_nothing_from_elsewhere():
    # as a list of what is there, not of what is not: a new dependency cannot slip in unnamed
    outside = {name.split(".")[0] for name in loaded_by("import eckart")} - set(
        sys.stdlib_module_names
    )
    assert outside == {"eckart"}


@pytest.mark.parametrize("code", ["dir(eckart)", "eckart.__version__"])
def test_names_and_version_are_told_without_numpy(code):
    assert "numpy" not in loaded_by(f"import eckart; {code}")


@pytest.mark.parametrize("heavy", ["plotly", "rich", "pyarrow", "PIL", "safetensors", "click"])
def test_factoring_an_array_loads_no_storage_and_no_reports(heavy):
    code = "import eckart; eckart.factorize([[1.0, 2.0], [3.0, 4.0]], rank=1)"
    assert heavy not in loaded_by(code)


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert eckart.__version__ == version("eckart")
