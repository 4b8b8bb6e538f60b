"""Whether the first row of a table of numbers is one of them or names its columns."""

import numpy as np
import pandas as pd
import pytest

from tabled import in_rows, whole

READERS = pytest.mark.parametrize("read", [whole, in_rows])


def written(folder, text):
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


@READERS
@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("400,402,404,406\n1,2,3,4\n", "the first row, 400, 402 …, is taken as numbers"),
        ("9,8,7,5,4,3,2,1\n1,2,3,4,5,6,7,8\n", "the first row, 9, 8 …, is taken as numbers"),
        ("1990;1991\n-3;8\n5;9\n", "the first row, 1990, 1991 …, is taken as numbers"),
        ("0\n0.5\n", "the first row, 0 …, is taken as numbers"),
        (",3,2\n4,5,6\n", "the first row, , 3 …, is taken as numbers"),
        ("2020-01-01,5\n2020-01-02,6\n", "the first row, 2020-01-01, 5 …, is taken as a row"),
        (",a,b\n,1,2\nr0,3,4\nr1,5,6\n", "line 2, which has no name as others have"),
    ],
)
def test_a_first_row_that_may_be_names_is_said(tmp_path, read, text, note):
    _, notes = read(written(tmp_path, text))
    assert any(note in said for said in notes), notes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n4.7,3.2,virginica\n", [[5.1, 3.5], [4.9, 3], [4.7, 3.2]]),
        ("2020-01-01,1\n2020-01-02,2\n", [[1], [2]]),
        ("12:30,1,a\n12:31,2,b\n12:32,3,a\n", [[1], [2], [3]]),
        ("2020-01-01,\n2020-01-02,5\n", [[np.nan], [5]]),
        ("row 9,1\nrow 10,2\n", [[1], [2]]),
        ("s1,1\nr2,2\n", [[2]]),
        ("name,2019\nBob,1\nAnn,2\n", [[1], [2]]),
        ("2020-01-01,x\n2020-01-02,2\n2020-01-03,3\n", [[2], [3]]),
    ],
)
def test_a_first_row_like_the_others_is_no_header(tmp_path, text, expected):
    np.testing.assert_array_equal(in_rows(written(tmp_path, text))[0], expected)


CORNERS = {
    "wavelengths": ",400.5,401,402.2\ns1,1,2,3\ns2,4,5,6\n",
    "a pivot": ",101,205,309\n5,1,2,3\n7,4,5,6\n9,1,1,2\n",
    "years": ",2019,2020\n2020-01-01,1,2\n2020-01-02,3,4\n",
    "decimal commas": ";400,5;401\ns1;1,5;2\ns2;4;5\n",
}


@READERS
@pytest.mark.parametrize("text", CORNERS)
def test_numbers_behind_an_empty_corner_are_names(tmp_path, read, text):
    path = written(tmp_path, CORNERS[text])
    cut = {"sep": ";", "decimal": ","} if ";" in CORNERS[text] else {}
    expected = pd.read_csv(path, index_col=0, **cut).to_numpy()
    np.testing.assert_array_equal(read(path)[0], expected)


@READERS
def test_a_missing_first_cell_is_no_corner(tmp_path, read):
    path = written(tmp_path, ",3,2\n4,5,6\n1,8,9\n")
    np.testing.assert_array_equal(read(path)[0], [[np.nan, 3, 2], [4, 5, 6], [1, 8, 9]])


@READERS
def test_a_first_row_of_very_many_digits_is_numbers(tmp_path, read):
    found, _ = read(written(tmp_path, f"{'9' * 6000},1\n2,3\n"))
    np.testing.assert_array_equal(found, [[np.inf, 1], [2, 3]])
