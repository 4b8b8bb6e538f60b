"""Tables of attributes: which columns tell something, as which numbers, and what is refused."""

import datetime
from types import SimpleNamespace

import numpy as np
import pandas
import pyarrow as pa
import pytest

from eckart.errors import EckartError
from eckart.recommend import AttributeTables, read_interactions
from eckart.recommend.attribute_tables import attach, read_attributes
from eckart.recommend.attributes import MOST_CATEGORIES, learn_feature, learn_features
from eckart.recommend.columns import ColumnNames
from tolerances import agree

# --- columns as numbers ----------------------------------------------------------------------


def cells_of(feature, column):
    """The numbers of a column with their rows and places, and how many words are unknown."""
    matrix, unknown = feature.cells(column, "t")
    found = matrix.tocoo()
    return SimpleNamespace(rows=found.row, places=found.col, values=found.data, unknown=unknown)


def test_numbers_are_standardised():
    numbers = np.array([3.0, np.nan, 8.0, 1.0, 2.5])
    cells = cells_of(learn_feature("n", pa.array(numbers)), pa.array(numbers))
    there = numbers[~np.isnan(numbers)]
    assert cells.rows.tolist() == [0, 2, 3, 4]
    assert agree(cells.values, (there - there.mean()) / there.std())


def test_words_are_a_one_for_each_as_pandas_has_them():
    texts = ["Action|Comedy", "Comedy", None, "", "Drama|Action|Action", " Comedy ", "Drama"]
    feature = learn_feature("genres", pa.array(texts))
    cells = cells_of(feature, pa.array(texts))
    made = np.zeros((len(texts), feature.width))
    made[cells.rows, cells.places] = cells.values
    clean = pandas.Series([(one or "").replace(" ", "") for one in texts])
    expected = clean.str.get_dummies("|").drop(columns="")
    assert list(feature.levels) == expected.columns.tolist()
    assert (made == expected.to_numpy()).all()


@pytest.mark.parametrize(
    ("column", "levels"),
    [
        (pa.array([True, False, True, None]), ("false", "true")),
        (pa.array([["a", "b"], [], None, ["a"]]), ("a", "b")),
        (pa.array(["x", "y", "x"]).dictionary_encode(), ("x", "y")),
        (pa.chunked_array([["x"], ["x", "y"]]), ("x", "y")),
        (pa.array(["1", "2", "two", "2"]), ("1", "2", "two")),
    ],
    ids=["truth values", "lists", "categories", "chunks", "words among numbers"],
)
def test_what_is_no_number_is_words(column, levels):
    assert learn_feature("c", column).levels == levels


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2, 4]),
        pa.array(["1", " 2.5", "", None]),
        pa.array(np.array(["2020-01-01", "2021-05-05"], "datetime64[D]")),
        pa.array([1e300, -1e300]),
    ],
    ids=["integers", "text of numbers", "dates", "large"],
)
def test_what_is_numbers_has_no_levels(column):
    feature = learn_feature("c", column)
    assert feature.levels is None
    assert np.isfinite(cells_of(feature, column).values).all()


def test_codes_are_words_where_that_is_asked_for():
    feature = learn_feature("occupation", pa.array([10, 2, 10, 2]), as_words=True)
    assert feature.levels == ("10", "2")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["a", "b", "c"], "No two rows share a value"),
        ([2.0, 2.0], "are the same"),
        ([None, None], "is empty"),
        (["", " "], "is empty"),
        ([f"w{n // 2}" for n in range(2 * MOST_CATEGORIES + 2)], "1,001 different values"),
        ([{"a": 1}, {"a": 1}], "neither number nor text"),
    ],
    ids=["distinct", "constant", "missing", "blank", "levels", "structs"],
)
def test_a_column_that_tells_nothing_is_left_out_or_refused_if_it_was_named(column, message):
    count = len(column)
    table = {"user": list(range(count)), "what": column, "odd": [n % 2 for n in range(count)]}
    data = read_interactions({"user": [0, 1], "item": [1, 2], "rating": [3.0, 4.0]})
    found, _, notes = attach(data, AttributeTables(users=table), None)
    assert any(message in note for note in notes)
    assert [one.name for one in found.user_attributes.features] == ["odd"]
    named = AttributeTables(users=table, user_columns=("what",))
    with pytest.raises(EckartError, match=message) as caught:
        attach(data, named, None)
    assert caught.value.code == "bad-attribute"


def test_more_attributes_than_can_be_solved_for_are_refused():
    words = [f"w{n // 2}" for n in range(2 * MOST_CATEGORIES)]
    table = {"user": list(range(len(words))), **{f"c{n}": words for n in range(11)}}
    data = read_interactions({"user": [0, 1], "item": [1, 2], "rating": [3.0, 4.0]})
    with pytest.raises(EckartError, match="11,000 attributes") as caught:
        attach(data, AttributeTables(users=table), None)
    assert caught.value.code == "too-many-attributes"


# --- tables ----------------------------------------------------------------------------------

SMALL = {"user": ["a", "b"], "item": [1, 2], "rating": [3.0, 4.0]}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl", ".csv.gz", "frame"])
def test_every_format_of_attributes_reads_the_same(tmp_path, suffix):
    frame = pandas.DataFrame(
        {"age": [20.0, 30.0, 40.0], "userId": ["a", "b", "c"], "sex": ["f", "m", "f"]}
    )
    path = tmp_path / f"users{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    tables = AttributeTables(users=frame if suffix == "frame" else path)
    data = attach(read_interactions(SMALL), tables, None)[0]
    assert data.users.to_list() == ["a", "b", "c"]
    high = np.sqrt(1.5)
    expected = np.array([[-high, 1, 0], [0, 0, 1], [high, 1, 0]], np.float32)
    assert agree(data.user_attributes.matrix.toarray(), expected)


def test_a_table_without_header_has_its_ids_first(tmp_path):
    (tmp_path / "u.user").write_text("")
    (tmp_path / "users.dat").write_text("a::F::1\nb::M::56\n")
    tables = AttributeTables(users=tmp_path / "users.dat", user_columns=("3",))
    found, _, notes = attach(read_interactions(SMALL), tables, None)
    assert [one.name for one in found.user_attributes.features] == ["3"]
    assert any("no header" in note for note in notes)


def test_the_column_of_ids_can_be_marked(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("town,login\nx,a\nx,b\ny,c\n")
    tables = AttributeTables(users=path, user_columns=("login:id",))
    own = attach(read_interactions(SMALL), tables, None)[0].user_attributes
    assert (own.id_column, own.features[0].levels) == ("login", ("x", "y"))


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ({"user": ["a", "b", "a"], "age": [1, 2, 3]}, "repeated-id"),
        ({"user": ["a", None], "age": [1, 2]}, "missing-id"),
        ({"user": ["x", "y"], "age": [1, 2]}, "no-such-ids"),
        ({"user": ["a", "b"]}, "no-attributes"),
        ({"user": ["a", "b"], "name": ["Ann", "Bob"]}, "no-attributes"),
        ({"user": ["a", "b"], "age": [1.0, np.inf]}, "bad-attribute"),
        ({"user": ["a", "b", "c"], "age": [1.0, 2.0, np.inf]}, "not-finite"),
        ({"user": ["a", "b"], "age": [1, 2, 3]}, "shapes-differ"),
        ({"user": ["a", "b"], "age": [1, "old"]}, "mixed-values"),
        (3, "not-interactions"),
    ],
    ids=["twice", "missing", "others", "alone", "names", "one number", "infinite", "lengths",
         "mixed", "no table"],
)  # fmt: skip
def test_tables_that_cannot_be_used_are_refused(table, code):
    named = ("age",) if code in ("bad-attribute", "not-finite") else None
    with pytest.raises(EckartError) as caught:
        attach(read_interactions(SMALL), AttributeTables(users=table, user_columns=named), None)
    assert caught.value.code == code


# --- what only numbers the rows, and what is no number among numbers ------------------------------

PEOPLE = pandas.DataFrame(
    {"user": [1, 2, 3, 4, 5], "age": [20, 30, 20, 40, 50]}, index=[7, 3, 9, 0, 2]
)


@pytest.mark.parametrize("kind", ["frame", "arrow", "parquet", "csv", "read again"])
def test_an_index_that_pandas_writes_is_no_attribute(tmp_path, kind):
    path = tmp_path / f"people.{'parquet' if kind == 'parquet' else 'csv'}"
    PEOPLE.to_parquet(path) if kind == "parquet" else PEOPLE.to_csv(path)
    table = {
        "frame": PEOPLE,
        "arrow": pa.table(PEOPLE),
        "read again": pandas.read_csv(path) if kind == "read again" else None,
    }.get(kind, path)
    read = read_attributes(table, "user", ColumnNames(), None)
    assert list(read.columns) == ["age"]
    assert read.id_column == "user"
    assert "is an index as pandas writes it" in " ".join(read.notes)
    if kind == "read again":
        assert list(read_attributes(table, "user", ColumnNames(), ["Unnamed: 0"]).columns) == [
            "Unnamed: 0"
        ]


@pytest.mark.parametrize(
    "ages",
    [["20", "NA", "21", "20"], ["20", "Null", "21", "n/a"], ['"20"', '"NA"', '"21"', '" "'],
     ["20", '"None"', " 21", "NaN"]],
)  # fmt: skip
def test_a_missing_number_of_a_text_file_is_no_word_in_quotes_or_not(tmp_path, ages):
    path = tmp_path / "people.csv"
    rows = [f"{place},{age}" for place, age in enumerate(ages)]
    path.write_text("\n".join(["user,age", *rows]), encoding="utf-8")
    read = read_attributes(path, "user", ColumnNames(), None)
    (feature,), notes = learn_features(read.columns, read.words, read.source, named=False)
    assert feature.levels is None
    assert notes == []
    kept = cells_of(feature, read.columns["age"])
    assert kept.rows.tolist() == [row for row, age in enumerate(ages) if age.strip(' "').isdigit()]


@pytest.mark.parametrize(("odd", "row"), [("?", 2), ("1'000", 2), ("about 30", 2)])
def test_numbers_that_are_taken_as_words_for_one_cell_are_said(tmp_path, odd, row):
    path = tmp_path / "people.csv"
    path.write_text(f"user,age\n1,20\n2,{odd}\n3,20\n4,30\n5,30\n", encoding="utf-8")
    read = read_attributes(path, "user", ColumnNames(), None)
    _, notes = learn_features(read.columns, read.words, read.source, named=False)
    assert f"taken as words, not as numbers, since row {row} has '{odd}'" in notes[0]
    asked = read_attributes(path, "user", ColumnNames(), ["age:category"])
    assert learn_features(asked.columns, asked.words, asked.source, named=True)[1] == []


CODES = {
    "text": ["10", "2", "10", "2", "3"],
    "bytes": [b"10", b"2", b"10", b"2", b"3"],
    "categories of numbers": pandas.Categorical([10, 2, 10, 2, 3]),
    "text and gaps": ["10", "2", "10", None, "2"],
}


@pytest.mark.parametrize(
    ("kind", "stored"),
    [*((kind, False) for kind in CODES), ("text", True), ("text and gaps", True)],
)
def test_codes_that_are_text_or_categories_in_a_table_with_types_are_words(tmp_path, kind, stored):
    frame = pandas.DataFrame({"user": range(5), "job": CODES[kind]})
    table = tmp_path / "people.parquet" if stored else frame
    if stored:
        frame.to_parquet(table)
    read = read_attributes(table, "user", ColumnNames(), None)
    (feature,), _ = learn_features(read.columns, read.words, read.source, named=False)
    assert feature.levels[:2] == ("10", "2")


@pytest.mark.parametrize("kind", [pa.duration, pa.timestamp])
def test_the_unit_of_durations_and_moments_does_not_matter(kind):
    columns = {
        unit: pa.array([one * ticks for one in (60, 3600, 7260)], kind(unit))
        for unit, ticks in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))
    }
    for column in columns.values():
        feature = learn_feature("t", column)
        for other in columns.values():
            values = cells_of(feature, other).values
            assert agree(values, cells_of(feature, column).values)


@pytest.mark.parametrize(
    "kind", [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]
)
def test_the_unit_of_times_of_day_does_not_matter(kind):
    times = [datetime.time(hour) for hour in (1, 5, 20)]
    feature, seconds = learn_feature("t", pa.array(times, kind)), pa.array(times, pa.time32("s"))
    cells = cells_of(feature, seconds)
    assert agree(cells.values, cells_of(learn_feature("t", seconds), seconds).values)


@pytest.mark.parametrize("fit", [[True, False, True], ["True", "False", "True"], ["TRUE", "FALSE"]])
@pytest.mark.parametrize("later", [[False, True], ["False", "True"], ["false", "true"]])
def test_truth_values_are_the_same_in_text_and_in_tables_with_types(fit, later):
    cells = cells_of(learn_feature("member", pa.array([*fit, *fit])), pa.array(later))
    assert (cells.places.tolist(), cells.unknown) == ([0, 1], 0)
