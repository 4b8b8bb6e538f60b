"""What the two readers of tables make of a file, as arrays, and what they say."""

from pathlib import Path
from typing import Any

import numpy as np

from eckart.files import Selection, read_parts
from eckart.files.registry import open_table
from eckart.matrices import Streamed
from eckart.matrices.derived import dense


def whole(path: Path, **selection: Any) -> tuple[np.ndarray, Any]:
    """What `factor` reads, and what it says."""
    contents = read_parts(path, Selection(**selection))
    return dense(contents.parts[0].matrix), contents.notes


def in_rows(path: Path, **wanted: Any) -> tuple[np.ndarray, Any]:
    """What `reduce` reads, and what it says."""
    table = open_table(path, Selection(**wanted))
    return dense(Streamed(table.source, memory=2**29)), table.notes
