"""Run command lines in the same process, and read what they print."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
ARTICLE = np.array([[4, 3, 2, 1], [2, 2, 2, 2], [1, 3, 4, 2], [0, 1, 2, 3]])
Run = Callable[[str], tuple[int, str, str]]


def result(run: Run, line: str, status: int = 0) -> dict:
    got, out, _ = run(line)
    assert got == status
    document = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert document["schema"] == 1
    return document["result"]


def error(run: Run, line: str, status: int) -> dict:
    got, out, err = run(line + " --json")
    assert got == status
    assert "Traceback" not in out + err
    fields = json.loads(out)["error"]
    assert set(fields) == {"code", "message", "hint"}
    assert fields["message"].endswith(".")
    return fields
