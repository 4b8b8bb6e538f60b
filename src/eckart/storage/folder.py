"""A folder of `.csv`: factors that a person or a spreadsheet can read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from eckart.errors import FormatError
from eckart.factors import Factors
from eckart.matrices import Dense
from eckart.matrices.derived import dense
from eckart.storage import delimited
from eckart.storage.checkpoints.strict_json import read_object
from eckart.storage.contents import FactorFile, Selection, from_arrays, to_arrays
from eckart.storage.whole import check_regular, write_text

DOCUMENT: Final = "factors.json"


def read_factors(path: Path) -> FactorFile:
    """Every `NAME.B.csv` and `NAME.A.csv`, and the document."""
    document: dict[str, Any] = {}
    if (path / DOCUMENT).is_file():
        document = read_object(path / DOCUMENT)
    plain = Selection(header=False, index=False)
    arrays: dict[str, Any] = {}
    for file in sorted(path.glob("*.csv")):
        if file.stem in ("B", "A") or file.stem.endswith((".B", ".A")):
            check_regular(file)
            arrays[file.stem] = dense(delimited.read(file, plain).parts[0].matrix)
    if not arrays:
        raise FormatError(
            f"The folder {path} holds no factors.",
            hint="Give a folder with B.csv and A.csv.",
            code="not-factors",
        )
    dtype = document.get("dtype", "float64")
    parts = from_arrays(arrays, path)
    if dtype in ("float32", "float64"):
        parts = {name: factors.astype(dtype) for name, factors in parts.items()}
    return FactorFile(parts=parts, document=document.get("document", {}))


def write_factors(path: Path, parts: Mapping[str, Factors], document: Mapping[str, Any]) -> None:
    """Write `NAME.B.csv`, `NAME.A.csv` with every digit, and the document."""
    path.mkdir()
    for name, array in to_arrays(parts).items():
        delimited.write(path / f"{name}.csv", {"": Dense(array)})
    dtype = str(next(iter(parts.values())).dtype)
    text = json.dumps({"dtype": dtype, "document": document}, allow_nan=False, indent=1)
    write_text(path / DOCUMENT, text)
