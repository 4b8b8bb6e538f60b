"""Matrix Market files beside SciPy's reader, and what neither may guess."""

import gzip
import warnings

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from eckart.errors import FormatError
from eckart.files import read_parts
from eckart.matrices.derived import dense

HEAD = b"%%MatrixMarket matrix coordinate real general\n"
BODY = b"3 3 2\n1 1 2.5\n3 2 -1\n"
EXPECTED = [[2.5, 0, 0], [0, 0, 0], [0, -1, 0]]


def read(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix.lower() == ".gz" else content)
    contents = read_parts(path)
    return dense(contents.parts[0].matrix), contents.notes


@pytest.mark.parametrize(
    "content",
    [
        b" \n  " + HEAD + BODY,
        b"\xef\xbb\xbf" + HEAD + BODY,
        HEAD + b"% caf\xe9\n" + BODY,
        HEAD + "% café – δ\n".encode() + BODY,
        HEAD + b"  % a comment that is set in\n\n" + BODY,
        (HEAD + BODY).replace(b"\n", b"\r\n"),
        HEAD + BODY.replace(b" ", b"\t"),
        HEAD + BODY + b"\n\n",
    ],
)
@pytest.mark.parametrize("name", ["W.mtx", "W.MTX", "W.mtx.gz", "W.MTX.GZ"])
def test_what_may_stand_around_the_numbers(tmp_path, content, name):
    np.testing.assert_array_equal(read(tmp_path / name, content)[0], EXPECTED)


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("real", b"3 3 3\n1 1\n2 2\n3 3\n"),
        ("integer", b"3 3 1\n1 1\n"),
        ("real", b"3 3 1\n1 1 2 3\n"),
        ("pattern", b"3 3 1\n1 1 2 3\n"),
        ("pattern", b"3 3 1\n1\n"),
        ("real", b"3 3 3\n1 1 1\n"),
    ],
)
def test_a_line_that_is_no_entry_of_its_kind_is_refused_once(tmp_path, field, body):
    with pytest.raises(FormatError) as error:
        read(tmp_path / "W.mtx", HEAD.replace(b"real", field.encode()) + body)
    assert str(error.value).count("is damaged") == 1
    assert error.value.code == "damaged-file"


def test_a_pattern_has_ones_and_what_it_says_beside_is_left_out_with_a_note(tmp_path):
    content = HEAD.replace(b"real", b"pattern") + b"3 3 2\n1 1 5\n3 2 7\n"
    found, notes = read(tmp_path / "W.mtx", content)
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 0, 0], [0, 1, 0]])
    assert "pattern" in notes[0]
    plain = content.replace(b" 5\n", b"\n").replace(b" 7\n", b"\n")
    assert read(tmp_path / "P.mtx", plain)[1] == ()


@settings(max_examples=40, deadline=None)
@given(
    field=st.sampled_from(["real", "integer", "pattern"]),
    symmetry=st.sampled_from(["general", "symmetric"]),
    size=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_coordinate_files_are_read_as_scipy_reads_them(
    tmp_path_factory, field, symmetry, size, seed
):
    generator = np.random.default_rng(seed)
    stored = np.tril(generator.random((size, size)) < 0.5)
    rows, columns = np.nonzero(stored)
    lines = [f"{size} {size} {len(rows)}"]
    for row, column in zip(rows, columns, strict=True):
        value = "" if field == "pattern" else f" {generator.integers(-9, 9)}"
        lines.append(f"{row + 1} {column + 1}{value}")
    path = tmp_path_factory.mktemp("mtx") / "W.mtx"
    words = f"%%MatrixMarket matrix coordinate {field} {symmetry}\n"
    found, _ = read(path, (words + "\n".join(lines) + "\n").encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = scipy.io.mmread(path)
    np.testing.assert_array_equal(found, known.toarray())
