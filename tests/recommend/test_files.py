"""Tables of interactions in files: headers, ids as they are written, what Arrow knows of types."""

import json
import os
import uuid

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eckart.errors import EckartError
from eckart.recommend import read_interactions
from eckart.recommend.attribute_tables import read_attributes
from eckart.recommend.attributes import learn_features
from eckart.recommend.columns import ColumnNames, read_ids

IDS = [uuid.UUID(int=place) for place in (1, 2, 1)]


def read(folder, content, name="r.csv", **named):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_interactions(path, ColumnNames(**named))


def sides(data):
    return data.users.to_list(), data.items.to_list()


TABLES = {
    "codes that are no numbers": ("17850,85123A,6\n17850,71053,6\n13047,22632,6\n",
                                  [13047, 17850], ["22632", "71053", "85123A"]),
    "blanks behind commas": ("user, item, rating\n1, 3, 4\n2, 3, 5\n2, 4, 5\n", [1, 2], [3, 4]),
    "quotes behind blanks": ('user, item, rating\n"a b", "x, y", 4\n"c", "z", 5\n',
                             ["a b", "c"], ["x, y", "z"]),
    "blanks between": ("1 2 5\n1 3 4\n2 2 3\n", [1, 2], [2, 3]),
    "a comment before": ("% bip weighted\n1 2 5\n1 3 4\n2 2 3\n", [1, 2], [2, 3]),
    "names in a comment": ("#user,item,rating\n1,2,5\n1,3,4\n2,2,3\n", [1, 2], [2, 3]),
    "names in a comment between blanks": ("# user item rating\n1 2 5\n1 3 4\n2 2 3\n",
                                          [1, 2], [2, 3]),
    "a comment before names": ("# made today\nuser,item\n1,2\n1,3\n2,2\n", [1, 2], [2, 3]),
    "UTF-16": ("user;item;rating\nä;1;2,5\nb;1;3\n".encode("utf-16"), ["b", "ä"], [1]),
    "latin-1": ("user;item\nä;1\nb;1\n".encode("latin-1"), ["b", "ä"], [1]),
    "a word for nothing in quotes": ('user,item\n"NA",x\na,y\n', ["NA", "a"], ["x", "y"]),
    "broken ids": ('user,item\n"a\nb",x\nb,"y, z"\n', ["a\nb", "b"], ["x", "y, z"]),
    "a comma behind each line": ("user,item,rating,\na,x,5,\nb,y,3,\n", ["a", "b"], ["x", "y"]),
    "two colons": ("1::10::5::978\n1::11::3::979\n2::10::4::980\n", [1, 2], [10, 11]),
    "two colons and quotes": ('user::item\na"b::"x\nb::y\n', ['a"b', "b"], ['"x', "y"]),
    "zeros in front": ("user;item\n007;1\n7;1\n", ["007", "7"], [1]),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_of_interactions_is_read_whoever_wrote_it(tmp_path, kind):
    content, users, items = TABLES[kind]
    assert sides(read(tmp_path, content)) == (users, items)


@pytest.mark.parametrize("text", ["user;item;rating\na;x;4,5\nb;y;3\n", "a;x;4,5\nb;y;3\n"])
def test_ratings_with_decimal_commas_are_read_and_said(tmp_path, text):
    data = read(tmp_path, text)
    assert data.ratings.tolist() == [4.5, 3.0]
    assert any("decimal commas" in note for note in data.notes)


def test_decimal_commas_are_seen_wherever_they_begin(tmp_path):
    rows = [f"u{place};i{place};{place % 5}" for place in range(500)]
    assert read(tmp_path, "\n".join([*rows, "v;x;2,5"])).ratings[-1] == 2.5


def test_named_columns_are_a_header(tmp_path):
    data = read(tmp_path, "klant,artikel\nu1,i1\nu1,i2\nu2,i1\n", user="klant", item="artikel")
    assert sides(data) == (["u1", "u2"], ["i1", "i2"])


def test_of_two_columns_of_one_name_none_is_taken_for_the_other(tmp_path):
    with pytest.raises(EckartError, match="several columns called 'rating'"):
        read(tmp_path, "user,item,rating,rating\na,x,5,1\nb,y,3,2\n")
    table = pa.Table.from_arrays([pa.array(one) for one in ([1, 2], [3, 4], [5, 6], [1, 1])],
                                 names=["user", "item", "rating", "rating"])  # fmt: skip
    pq.write_table(table, tmp_path / "r.parquet")
    with pytest.raises(EckartError, match="several columns called 'rating'"):
        read_interactions(tmp_path / "r.parquet")
    other = pa.Table.from_arrays(table.columns, names=["user", "item", "rating", "other"])
    pq.write_table(other, tmp_path / "o.parquet")
    assert read_interactions(tmp_path / "o.parquet").ratings.tolist() == [5.0, 6.0]


def test_one_column_is_not_taken_twice(tmp_path):
    with pytest.raises(EckartError, match=r"column 'user' .* is named as user and item"):
        read(tmp_path, "user,item\na,x\n", user="user", item="user")


def test_how_a_column_is_named_is_said_for_the_command_line_and_for_python(tmp_path):
    for table, role in ((b"klant,item\na,1\n", "user"), (b"user,artikel\na,1\n", "item")):
        with pytest.raises(EckartError, match=f"like an? {role}") as caught:
            read(tmp_path, table)
        assert (
            f"`{role}_column=NAME`, or columns={{'{role}': 'NAME'}} in Python" in caught.value.hint
        )


def test_as_what_columns_without_names_were_taken_is_said_where_they_do_not_fit(tmp_path):
    with pytest.raises(EckartError, match="line 1, column 3: 'play'") as caught:
        read(tmp_path, "7,Dota,play,234\n7,Go,play,3\n")
    assert "user = column 1, item = column 2, rating = column 3" in caught.value.hint


@pytest.mark.parametrize("cell", ["NA", "null", '""', '" "', ""])
def test_an_id_that_is_missing_is_refused_with_its_row(tmp_path, cell):
    with pytest.raises(EckartError, match="Row 2 has no user"):
        read(tmp_path, f"user,item,rating\na,x,5\n{cell},y,3\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user,item,rating\na,x,5\nb,y,１\n", r"line 3, column 3 \('rating'\): '１'"),
        ("user,item,rating\na,x,5\nb,y,0x1\n", r"line 3, column 3 \('rating'\): '0x1'"),
        ('user,item,rating\n"a\nb",x,5\nb,y,z\n', r"line 4, column 3 \('rating'\): 'z'"),
        ("user,item,rating\na,x,5\nb,y\n", "line 3: 2 cells where the first row has 3"),
        ('user,item,rating\na,x,5\n"b,y,3\n', "line 3: a quote is not closed"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path, text, said):
    with pytest.raises(EckartError, match=said):
        read(tmp_path, text)


def test_an_id_in_quotes_may_be_longer_than_a_block(tmp_path):
    long = "x" * 3_000_000
    assert sides(read(tmp_path, f'user,item\n"{long}",1\nb,2\n')) == (["b", long], [1, 2])


class TestJson:
    def test_lines_of_any_length_are_read(self, tmp_path):
        rows = [{"user": f"u{n % 3}", "item": n // 3, "text": "x" * (2_000_000 * (n == 5) + 9)}
                for n in range(9)]  # fmt: skip
        text = "\n".join(map(json.dumps, rows))
        assert sides(read(tmp_path, text, "r.jsonl")) == (["u0", "u1", "u2"], [0, 1, 2])

    def test_a_list_of_objects_is_a_table(self, tmp_path):
        rows = [{"user": 1, "item": "x"}, {"user": 2, "item": "y", "rating": 3}]
        data = json.dumps(rows, indent=1)
        with pytest.raises(EckartError, match="Row 1"):
            read(tmp_path, data, "r.json")
        assert sides(read(tmp_path, json.dumps(rows[1:]), "r.json")) == ([2], ["y"])

    @pytest.mark.parametrize("name", ["r.json", "r.jsonl"])
    def test_values_of_several_types_are_refused_by_name(self, tmp_path, name):
        rows = [{"user": 1, "item": 2}, {"user": "a", "item": 2}]
        text = json.dumps(rows) if name == "r.json" else "\n".join(map(json.dumps, rows))
        with pytest.raises(EckartError, match=r"column 'user' .* several types") as caught:
            read(tmp_path, text, name)
        assert caught.value.code == "mixed-types"

    @pytest.mark.parametrize("name", ["r.json", "r.jsonl"])
    def test_text_that_looks_like_a_date_is_kept_as_it_is_written(self, tmp_path, name):
        rows = [{"user": "2020-01-02", "item": "2020-01-01T10:00:00Z", "tags": ["2020-01-01"]},
                {"user": "2020-01-01 10:00", "item": "2020-01-01", "tags": []}]  # fmt: skip
        text = json.dumps(rows) if name == "r.json" else "\n".join(map(json.dumps, rows))
        users, items = sides(read(tmp_path, text, name))
        assert users == ["2020-01-01 10:00", "2020-01-02"]
        assert items == ["2020-01-01", "2020-01-01T10:00:00Z"]

    @pytest.mark.parametrize("name", ["r.json", "r.jsonl"])
    def test_whole_numbers_of_any_size_are_ids(self, tmp_path, name):
        rows = [{"user": 2**64 - 1, "item": 10**20, "rating": 0.5},
                {"user": 2**64 - 2, "item": 2, "rating": 1}]  # fmt: skip
        text = json.dumps(rows) if name == "r.json" else "\n".join(map(json.dumps, rows))
        found = read(tmp_path, text, name)
        assert list(map(str, found.users.to_list())) == [str(2**64 - 2), str(2**64 - 1)]
        assert found.items.to_list() == [str(10**20), "2"]
        assert found.ratings.tolist() == [1.0, 0.5]

    @pytest.mark.parametrize("text", ["[1, 2]", "[", "[" * 100_000, "{", "[null]"])
    def test_what_is_no_table_is_damaged(self, tmp_path, text):
        with pytest.raises(EckartError) as caught:
            read(tmp_path, text, "r.json")
        assert caught.value.code == "damaged-file"


PARQUET = {
    "unused categories": (pd.Categorical(["x", "y", "x"], categories=["z", "y", "x"]), ["x", "y"]),
    "UUIDs": (pa.array([one.bytes for one in IDS], pa.uuid()), [str(IDS[0]), str(IDS[1])]),
    "bytes": (pa.array([b"a", b"b", b"a"]), ["a", "b"]),
    "views": (pa.array(["a", "b", "a"], pa.string_view()), ["a", "b"]),
    "truth values of 8 bits": (pa.array([1, 0, 1], pa.int8()).cast(pa.bool8()), [0, 1]),
    "large": (pa.array([2**63, 1, 2**63], pa.uint64()), [1, 2**63]),
}


@pytest.mark.parametrize("kind", PARQUET)
def test_ids_of_every_type_of_arrow_are_given_back(tmp_path, kind):
    column, expected = PARQUET[kind]
    table = pa.table({"user": pa.array(column), "item": [1, 2, 3]})
    pq.write_table(table, tmp_path / "r.parquet")
    for data in (tmp_path / "r.parquet", table):
        assert read_interactions(data).users.to_list() == expected


@pytest.mark.parametrize(
    "column",
    [pa.array([b"\xff", b"b"]), pa.array([b"ab", b"cd"], pa.binary(2)), pa.array([[1], [2]])],
)
def test_ids_without_a_text_are_refused(tmp_path, column):
    pq.write_table(pa.table({"user": column, "item": [1, 2]}), tmp_path / "r.parquet")
    with pytest.raises(EckartError) as caught:
        read_interactions(tmp_path / "r.parquet")
    assert caught.value.code == "bad-ids"


def test_a_table_of_users_loses_none(tmp_path):
    (tmp_path / "u.csv").write_text('user\n"NA"\n007\n')
    assert read_ids(tmp_path / "u.csv", "user") == ["NA", "007"]
    (tmp_path / "u.csv").write_text("user,x\n1,2\nNA,2\n")
    with pytest.raises(EckartError, match=r"Row 2 of u.csv has no user"):
        read_ids(tmp_path / "u.csv", "user")


@pytest.mark.parametrize("name", ["r.csv", "r.parquet", "r.jsonl"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(EckartError, match="is a pipe"):
        read_interactions(tmp_path / name)


class TestAttributes:
    def features(self, path):
        found = read_attributes(path, "item", ColumnNames(), None)
        made, _ = learn_features(found.columns, found.words, found.source, named=False)
        return {one.name: one for one in made}, found

    def test_numbers_with_decimal_commas_are_numbers(self, tmp_path):
        path = tmp_path / "items.csv"
        path.write_text('item;price;kind\n1;1,5;"a,b"\n2;2;c\n3;4,25;c\n')
        features, found = self.features(path)
        assert features["price"].levels is None
        assert features["price"].mean == pytest.approx((1.5 + 2 + 4.25) / 3)
        assert features["kind"].levels == ("a,b", "c")
        assert any("decimal commas" in note for note in found.notes)

    def test_a_word_of_a_late_line_makes_all_of_a_column_words(self, tmp_path):
        path = tmp_path / "items.csv"
        rows = [f"{place},{place % 3}" for place in range(3000)]
        path.write_text("\n".join(["item,class", *rows, "3000,x", "3001,x"]))
        assert self.features(path)[0]["class"].levels == ("0", "1", "2", "x")

    def test_what_arrow_knows_of_types_is_read(self, tmp_path):
        path = tmp_path / "items.parquet"
        lasting = pa.array([60, 120, 60], pa.duration("s"))
        kinds = pa.array(pd.Categorical(["x", "y", "x"], categories=["z", "y", "x"]))
        pq.write_table(
            pa.table({"item": [1, 2, 3], "lasting": lasting, "kind": kinds,
                      "code": pa.array([one.bytes for one in IDS], pa.uuid()),
                      "noise": pa.array([b"\xff", b"a", b"\xff"])}), path,
        )  # fmt: skip
        features, _ = self.features(path)
        assert set(features) == {"lasting", "kind", "code"}
        assert (features["lasting"].levels, features["lasting"].mean) == (None, 80e6)
        assert features["kind"].levels == ("x", "y")
        assert features["code"].levels == (str(IDS[0]), str(IDS[1]))


def test_a_column_that_could_be_the_user_as_well_is_said(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("customer_id,user_id,item,rating\n9,1,a,3\n8,2,b,4\n", encoding="utf-8")
    read = read_interactions(path)
    assert read.users.to_list() == [1, 2]
    assert read.notes == (
        "r.csv: the user is in the column 'user_id', not in 'customer_id' (name it if not).",
    )
    read = read_interactions(path, ColumnNames(user="customer_id"))
    assert (read.users.to_list(), read.notes) == ([8, 9], ())
