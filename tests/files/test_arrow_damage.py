"""Whatever a few wrong bytes make of a table, one sentence says so, and of nothing else."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eckart.errors import EckartError, FormatError
from eckart.files import read_parts
from eckart.files.columns import arrow_reading
from eckart.files.registry import open_table
from eckart.files.tables import read_parquet, table_head
from eckart.matrices import Streamed
from eckart.matrices.derived import dense

READERS = {
    "whole": read_parts,
    "in blocks": lambda path: dense(Streamed(open_table(path).source, memory=2**20)),
    "as it was written": read_parquet,
    "its head": lambda path: table_head(path, frozenset()),
}


def table(path):
    columns = {name: np.arange(60) * 1.5 for name in "abc"}
    pq.write_table(pa.table(columns), path, row_group_size=25)
    return path.read_bytes()


def wrong(whole, seed):
    """The bytes cut off somewhere, or some of them changed."""
    generator = np.random.default_rng(seed)
    if seed % 4 == 0:
        return whole[: int(generator.integers(len(whole)))]
    changed = bytearray(whole)
    for _ in range(seed % 4):
        changed[int(generator.integers(len(whole)))] = int(generator.integers(256))
    return bytes(changed)


@pytest.mark.parametrize("reader", READERS)
def test_a_table_with_wrong_bytes_is_read_or_refused_in_one_sentence(tmp_path, reader):
    path = tmp_path / "t.parquet"
    whole, said = table(path), []
    for seed in range(120):
        path.write_bytes(wrong(whole, seed))
        try:
            READERS[reader](path)
        except EckartError as error:
            said.append(error.message)
    assert len(said) > 30
    assert not any("\n" in sentence for sentence in said)


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_compressed_lines_that_were_cut_are_damaged(tmp_path, keep):
    path = tmp_path / "t.jsonl.gz"
    drawn = np.random.default_rng(0).integers(2**40, size=500).tolist()
    packed = gzip.compress("\n".join(json.dumps({"user": one}) for one in drawn).encode())
    path.write_bytes(packed[: int(keep * len(packed))])
    with pytest.raises(FormatError) as caught:
        table_head(path, frozenset())
    assert caught.value.code == "damaged-file"


@pytest.mark.parametrize("error", [TypeError, KeyError, ValueError, OSError(13, "no permission")])
def test_what_no_broken_file_can_raise_is_left_alone(tmp_path, error):
    expected = type(error) if isinstance(error, OSError) else error
    with pytest.raises(expected) as caught, arrow_reading(tmp_path):
        raise error
    assert not isinstance(caught.value, FormatError)
