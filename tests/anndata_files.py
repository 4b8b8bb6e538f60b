"""Files as AnnData writes them: a matrix and the names of its columns."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr


def write(path: str, frame: Any) -> None:
    """The numbers of a data frame as X and its columns as genes, in `.h5ad` or `.zarr`."""
    in_zarr = Path(path).suffix == ".zarr"
    opened: Any = (
        zarr.open_group(path, mode="w", zarr_format=2) if in_zarr else h5py.File(path, "w")
    )
    names = np.array([name.encode() for name in frame.columns])
    opened.attrs["encoding-type"] = "anndata"
    for name in ("obs", "var"):
        opened.create_group(name).attrs["_index"] = "_index"
    for group, name, data in ((opened, "X", frame.to_numpy()), (opened["var"], "_index", names)):
        make = getattr(group, "create_array", None) or group.create_dataset
        make(name, data=data)
    if not in_zarr:
        opened.close()
