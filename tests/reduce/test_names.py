"""`eckart reduce`: columns by their names, whatever their order, and what goes along with rows."""

import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import anndata_files
from commandline import error, result

X = np.random.default_rng(0).standard_normal((30, 4)) * [1, 2, 3, 10]
NAMES = ["g0", "g1", "g2", "g3"]
OTHER = [2, 0, 3, 1]
"""Another order of the columns."""


def write(path, order):
    """The table with its columns in an order, in the kind of file that its suffix says."""
    frame = pd.DataFrame(X, columns=NAMES).iloc[:, order]
    if path.endswith(".csv"):
        frame.to_csv(path, index=False)
    elif path.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        anndata_files.write(path, frame)
    return path


def scores(path):
    return pd.read_csv(path).filter(like="PC").to_numpy()


KINDS = ["csv", "parquet", "h5ad", "zarr"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_columns_are_found_by_name_in_every_kind_of_file(run, kind, other):
    result(run, f"reduce {write(f'a.{kind}', range(4))} --rank 2 -o a.s.csv --json")
    result(run, f"reduce {write(f'b.{other}', OTHER)} --model a.s.model.npz -o b.s.csv --json")
    np.testing.assert_array_equal(scores("b.s.csv"), scores("a.s.csv"))
    for path, output in ((f"a.{kind}", "a.n.npz"), (f"b.{other}", "b.n.npz")):
        result(run, f"reduce {path} --update a.s.model.npz -o {output} --json")
    with np.load("a.n.npz") as first, np.load("b.n.npz") as second:
        np.testing.assert_array_equal(second["A"], first["A"])


def test_genes_can_be_chosen_by_name(run):
    write("a.h5ad", range(4))
    document = result(run, "reduce a.h5ad --columns g3,g1 --rank 1 -o s.csv --json")
    assert document["shape"] == [30, 2]
    assert list(pd.read_csv("s.loadings.csv")["column"]) == ["g3", "g1"]
    assert error(run, "reduce a.h5ad --columns g9 --rank 1 -o t.csv", 1)["code"] == "no-such-column"


def test_a_column_in_the_place_of_another_is_refused(run):
    result(run, f"reduce {write('a.csv', range(4))} --rank 2 -o s.csv --json")
    line = "reduce a.csv --model s.model.npz --columns"
    assert error(run, f"{line} g1,g0,g2,g3 -o t.csv", 2)["code"] == "columns-differ"
    pd.DataFrame(X, columns=list("abcd")).to_csv("a.csv", index=False)
    result(run, f"{line} a,b,c,d -o t.csv --json")  # other names are those that are meant
    np.testing.assert_array_equal(scores("t.csv"), scores("s.csv"))


@pytest.mark.parametrize("names", ["0,1,2,3", "2019,2020,2021,2022", "7,5,6,4"])
def test_a_header_of_numbers_is_known_where_a_model_has_its_names(run, names):
    pd.DataFrame(X, columns=names.split(",")).to_csv("t.csv", index=False)
    result(run, "reduce t.csv --header --rank 2 -o s.csv --json")
    result(run, "reduce t.csv --model s.model.npz -o t.s.csv --json")
    np.testing.assert_array_equal(scores("t.s.csv"), scores("s.csv"))


def test_positions_make_no_header_of_a_first_row_that_holds_them(run):
    np.savetxt("t.csv", np.column_stack([np.arange(30) % 2, np.arange(30) % 3]), "%d", ",")
    for column in ("0", "0,1"):
        line = f"reduce t.csv --columns {column} --rank 1 -o s.csv --force"
        assert result(run, f"{line} --json")["shape"][0] == 30


def test_names_with_commas_and_blanks_can_be_chosen(run):
    pd.DataFrame(X, columns=["a,1", "b", " c", "d"]).to_parquet("t.parquet")
    line = "reduce t.parquet --rank 1 -o s.csv --columns"
    result(run, f"""{line} '"a,1",c' --json""")
    assert list(pd.read_csv("s.loadings.csv")["column"]) == ["a,1", " c"]
    assert error(run, f"{line} '' --force", 1)["code"] == "no-such-column"


IDS = {
    "category": (pa.array(["a", "b"] * 15).dictionary_encode(), "a"),
    "uuid": (pa.array([uuid.UUID(int=7).bytes] * 30, pa.uuid()), str(uuid.UUID(int=7))),
    "bytes": (pa.array([b"ab"] * 30), "ab"),
    "list": (pa.array([[1, 2]] * 30), None),
    "record": (pa.array([{"p": 1}] * 30), None),
    "no text": (pa.array([b"\xff"] * 30), None),
}


@pytest.mark.parametrize("kind", IDS)
def test_what_goes_along_is_written_as_text_or_refused(run, kind):
    column, text = IDS[kind]
    frame = pa.table([*map(pa.array, X.T), column], names=[*NAMES, "who"])
    pq.write_table(frame, "t.parquet")
    line = "reduce t.parquet --rank 1 --id who --columns g0,g1,g2,g3"
    if text is None:
        assert error(run, f"{line} -o s.csv", 1)["code"] == "not-text"
    else:
        result(run, f"{line} -o s.csv --json")
        assert pd.read_csv("s.csv", dtype=str)["who"][0] == text
    result(run, f"{line} -o s.parquet --force --json")
    assert pq.read_table("s.parquet")["who"].to_pylist() == column.to_pylist()


def test_an_array_of_scores_or_an_update_has_no_place_for_ids(run):
    write("t.csv", range(4))
    code = "option-does-not-apply"
    assert error(run, "reduce t.csv --rank 1 --id g0 -o s.npy", 2)["code"] == code
    result(run, "reduce t.csv --rank 1 -o s.csv --json")
    assert error(run, "reduce t.csv --update s.model.npz --id g0", 2)["code"] == code


def test_columns_that_are_the_names_of_folders_are_said(run):
    frame = pd.DataFrame(X, columns=NAMES).assign(year=[2020, 2021] * 15)
    frame.to_parquet("t", partition_cols=["year"])
    notes = result(run, "reduce t --rank 1 -o s.csv --json")["notes"]
    assert notes == ["t: year of the names of its folders left out."]


def test_a_column_without_any_value_is_named(run):
    pd.DataFrame({"who": "x", "a": X[:, 0], "b": np.nan}).to_csv("t.csv", index=False)
    assert "Column 'b'" in error(run, "reduce t.csv --rank 1 -o s.csv", 1)["message"]
