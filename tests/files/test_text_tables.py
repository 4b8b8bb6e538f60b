"""Tables as text: one way to read them for `factor` and `reduce`, whoever wrote them."""

import os

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from eckart.errors import ArgumentError, EckartError
from eckart.files.records import Selection
from eckart.files.registry import open_table
from eckart.files.text.cells import MISSING, is_number, numbers
from eckart.files.text.reader import TextRows
from eckart.files.text.sample import read_sample
from tabled import in_rows, whole

NAN = float("nan")


READERS = pytest.mark.parametrize("read", [whole, in_rows])


def written(folder, text, name="t.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


SAME = {
    "an index without a name": (",a,b\n0,1,2\n1,3,4\n", [[1, 2], [3, 4]]),
    "an index above columns without names": (",0,1\n0,1.5,2\n1,3,4\n", [[1.5, 2], [3, 4]]),
    "columns without names": ("0,1\n1.5,2\n3,4\n", [[0, 1], [1.5, 2], [3, 4]]),
    "a broken name": ('"Header\nLine two",b\n1,2\n3,5\n', [[1, 2], [3, 5]]),
    "a comma in a name": ('"a, b";c\n1;2\n', [[1, 2]]),
    "decimal commas": ("1,5;2,5\n2,5;4,1\n0,5;7,25\n", [[1.5, 2.5], [2.5, 4.1], [0.5, 7.25]]),
    "decimal commas below names": ("a;b\n1,5;2\n2;4,1\n", [[1.5, 2], [2, 4.1]]),
    "points between semicolons": ("a;b\n1.5;2\n2;4.1\n", [[1.5, 2], [2, 4.1]]),
    "tabs": ("a\tb\n1\t2\n", [[1, 2]]),
    "bars": ("1|2\n3|4\n", [[1, 2], [3, 4]]),
    "blanks": ("1 2\n3 4\n", [[1, 2], [3, 4]]),
    "commas behind each line": ("a,b,\n1,2,\n3,4,\n", [[1, 2], [3, 4]]),
    "blanks around numbers": ("a, b\n 1 , 2\n3 ,\t4\n", [[1, 2], [3, 4]]),
    "blanks for nothing": ("a,b\n1, \n3,4\n", [[1, NAN], [3, 4]]),
    "quotes around everything": ('"a","b"\n"1","2"\n"","NA"\n', [[1, 2], [NAN, NAN]]),
    "words for nothing": ("a,b\n1,<NA>\n#N/A,null\nNone,-1.#IND\n",
                          [[1, NAN], [NAN, NAN], [NAN, NAN]]),
    "signs and powers": ("+1,-2.5e3\n.5,1.\n", [[1, -2500], [0.5, 1]]),
    "blank lines": ("\n\na,b\n\n1,2\n\n\n3,4\n\n", [[1, 2], [3, 4]]),
    "lines of old": ("a,b\r1,2\r3,4\r", [[1, 2], [3, 4]]),
    "no end of the last line": ("a,b\r\n1,2\r\n3,4", [[1, 2], [3, 4]]),
    "one name twice": ("v,v\n1,2\n3,4\n", [[1, 2], [3, 4]]),
    "blanks in any number": (" 1   2 \n 10 4\n", [[1, 2], [10, 4]]),
    "a blank of another kind": ("a,b\n\u00a01,2\n3,4\n", [[1, 2], [3, 4]]),
    "what spreadsheets say first": ("sep=;\n1,5;2\n3;4\n", [[1.5, 2], [3, 4]]),
    "what they say above names": ("sep=;\na;b\n1,5;2\n3;4\n", [[1.5, 2], [3, 4]]),
    "names of rows by R": ('"a","b"\n"x",1,2\n"y",3,4\n', [[1, 2], [3, 4]]),
    "names of rows by R between blanks": ('"a" "b"\n"x" 1 2\n"y" 3 4\n', [[1, 2], [3, 4]]),
    "names of several rows by pandas": (",,a,b\ng,1,1,2\ng,2,3,4\n", [[1, 2], [3, 4]]),
    "names that are numbers by pandas": (",2000.0,2001.0\n0,1,2\n1,3,4\n", [[1, 2], [3, 4]]),
    "several commas behind each line": ("a,b,,\n1,2,,\n3,4,,\n", [[1, 2], [3, 4]]),
    "a comma before each line": (",1,2\n,3,4\n", [[1, 2], [3, 4]]),
    "bars around each line": ("|a|b|\n|1|2|\n|3|4|\n", [[1, 2], [3, 4]]),
    "decimal commas between blanks": ("1,5 2,5\n3,5 10\n", [[1.5, 2.5], [3.5, 10]]),
    "decimal commas in quotes of one column": ('"a"\n"1,5"\n"-2,25"\n', [[1.5], [-2.25]]),
    "names of rows by R that are counted": ("a\n1,5\n2,7\n", [[5], [7]]),
    "quotes behind blanks": ('a, "b"\n1, "2"\n 3, "4"\n', [[1, 2], [3, 4]]),
    "what Windows writes": ("“a”,b\n1,2\n".encode("cp1252"), [[1, 2]]),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), [[1, 2]]),
    "UTF-16, large end first, without": ("a,b\n1,2\n".encode("utf-16-be"), [[1, 2]]),
    "UTF-16": ("é,b\n1,2\n3,4\n".encode("utf-16"), [[1, 2], [3, 4]]),
    "UTF-16, large end first": (b"\xfe\xff" + "é,b\n1,2\n".encode("utf-16-be"), [[1, 2]]),
    "latin-1": ("größe,b\n1,2\n3,4\n".encode("latin-1"), [[1, 2], [3, 4]]),
    "a mark before UTF-8": ("\ufeffé,b\n1,2\n".encode(), [[1, 2]]),
}  # fmt: skip


@READERS
@pytest.mark.parametrize("text", SAME)
def test_a_table_is_read_whoever_wrote_it(tmp_path, read, text):
    source, expected = SAME[text]
    found, _ = read(written(tmp_path, source))
    np.testing.assert_array_equal(found, expected)


@READERS
@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("0,1,2\n1,2,3\n", "the first row, 0, 1 …, is taken as numbers"),
        ("a,b\n1,2\n", "the first row is taken as a header (a, b"),
        (",a\n0,1\n", "which has no name, is taken as an index"),
        ("1,5;2\n", "decimal commas"),
        ("é,b\n1,2\n".encode("latin-1"), "read as LATIN-1"),
        ("é,b\n1,2\n".encode("utf-16"), "read as UTF-16"),
        ("1,2,\n3,4,\n", "1 empty column without a name before or behind all others is left out"),
        ("2000,2001,2002\n1,2,3\n", "the first row, 2000, 2001 …, is taken as numbers"),
        (",,a\n0,0,1\n", "the first 2 columns, which have no names"),
        ("a,b’\n1,2\n".encode("cp1252"), "read as WINDOWS-1252"),
    ],
)
def test_how_a_table_is_read_is_said(tmp_path, read, text, note):
    _, notes = read(written(tmp_path, text))
    assert any(note in said for said in notes), notes


@READERS
def test_an_index_is_kept_where_it_is_told(tmp_path, read):
    path = written(tmp_path, ",a\n5,1\n6,2\n")
    np.testing.assert_array_equal(read(path, index=False)[0], [[5, 1], [6, 2]])
    path = written(tmp_path, "b,a\n5,1\n6,2\n")
    np.testing.assert_array_equal(read(path, index=True)[0], [[1], [2]])


BAD = {
    "a digit of another alphabet": ("a,b\n1,2\n3,１\n", "line 3, column 2 ('b'): '１'"),
    "a number of another base": ("a,b\n1,2\n3,4\n5,0x10\n", "line 4, column 2 ('b'): '0x10'"),
    "a thousand": ('a,b\n1,2\n3,4\n5,"1,120"\n', "line 4, column 2 ('b'): '1,120'"),
    "an error of a sheet": ("a,b\n1,2\n3,4\n5,#DIV/0!\n", "line 4, column 2 ('b'): '#DIV/0!'"),
    "a truth value among numbers": ("1,2\n3,true\n5,6\n", "line 2, column 2: 'true'"),
    "a ragged line": ("a,b\n1,2\n3\n", "line 3: 1 cells where the first row has 2"),
    "a ragged line below a broken name": ('"a\nb",c\n1,2\n3\n', "line 4: 1 cells"),
    "a quote that is not closed": ('a,b\n1,2\n3,"4\n5,6\n', "line 3: a quote is not closed"),
    "many thousands": ('a,b\n1,"1,120"\n3,"2,500.5"\n5,6\n', "line 2, column 2 ('b'): '1,120'"),
    "groups of digits": ("a;b\n1.234,5;2\n3;4\n", "line 2, column 1 ('a'): '1.234,5'"),
    "money": ("a,b\n$5,2\n$6,4\n", "line 2, column 1 ('a'): '$5'"),
    "a minus that is none": ("a,b\n−5,2\n−6,4\n", "line 2, column 1 ('a'): '−5'"),
    "marks for nothing": ("a,b\n1,?\n3,?\n5,6\n", "line 2, column 2 ('b'): '?'"),
    "decimal commas of one column": (
        "a\n12,5\n30,7\n",
        "line 2: 2 cells where the first row has 1",
    ),
    "both decimals": ("1,5;2.5\n3,5;4\n2;3\n", "line 1, column 1: '1,5'"),
    "zeros": (b"a,b\n1,\0\0\n", "no text"),
    "mixed encodings": (b"\xc3\xa9,b\n1,2\n\xe9,3\n", "line 3: the byte 0xE9 is no UTF-8"),
}


@READERS
@pytest.mark.parametrize("text", BAD)
def test_what_is_no_number_is_named_by_line_column_and_text(tmp_path, read, text):
    source, said = BAD[text]
    with pytest.raises(EckartError) as caught:
        read(written(tmp_path, source), **({"header": False} if source[0] == "1" else {}))
    assert said in caught.value.message


@READERS
@pytest.mark.parametrize(
    "cell", ["−1", "$1", "1%", "(1)", "1-", "1'000", "1_000", "1,000.5", "1.000,5", "?", "１"]
)
def test_a_first_row_of_numbers_that_are_written_otherwise_is_no_header(tmp_path, read, cell):
    with pytest.raises(EckartError, match="line 1, column 1") as caught:
        read(written(tmp_path, f"{cell};2\n3;4\n"))
    assert caught.value.hint.startswith(("Write it with", "Leave the cell empty"))


@pytest.mark.parametrize(
    "word", ["2020-01-01", "31.12.2020", "10.0.0.1", "+", "-", "0x10", "12:30"]
)
def test_columns_of_dates_signs_and_codes_are_words(tmp_path, word):
    found, notes = in_rows(written(tmp_path, f"a,b\n{word},2\n{word},4\n"))
    assert found.tolist() == [[2], [4]]
    assert any("skipped 1 column" in note for note in notes)


LATE = 60_000


@READERS
@pytest.mark.parametrize(
    ("late", "message"),
    [("1.5", None), (" 1.5 ", None), ('""', None), ("1,5", "ragged"), ("word", "line 60002")],
)
def test_a_column_is_judged_by_all_of_its_cells(tmp_path, read, late, message):
    rows = [f"{i},{i % 7}," for i in range(LATE)] + [f"{i},{i % 5},{late}" for i in range(10)]
    path = written(tmp_path, "\n".join(["a,b,c", *rows]) + "\n")
    if message is None:
        found, _ = read(path)
        assert found.shape == (LATE + 10, 3)
        assert np.isnan(found[:LATE, 2]).all()
    elif message == "ragged":
        with pytest.raises(EckartError, match="line 60002: 4 cells"):
            read(path)
    elif read is in_rows:
        found, notes = read(path)
        assert found.shape == (LATE + 10, 2)
        assert any("c: 'word' in line 60002" in note for note in notes)
    else:
        with pytest.raises(EckartError, match=r"line 60002, column 3 \('c'\): 'word'"):
            read(path)


@READERS
def test_one_word_in_a_late_line_does_not_drop_its_column(tmp_path, read):
    rows = [f"{i},{i % 7}" for i in range(LATE)]
    rows[-2] = "5,n/v"
    path = written(tmp_path, "\n".join(["a,b", *rows]) + "\n")
    with pytest.raises(EckartError, match=r"line 60000, column 2 \('b'\): 'n/v'"):
        read(path)


@READERS
def test_a_point_in_a_late_line_is_no_decimal_comma(tmp_path, read):
    rows = [f"{i},5;{i % 7}" for i in range(5000)] + ["1.5;2"]
    with pytest.raises(EckartError, match="line 1, column 1: '0,5' is not a number"):
        read(written(tmp_path, "\n".join(rows)), header=False)


@READERS
def test_a_cell_more_than_there_are_names_is_no_name_of_a_row(tmp_path, read):
    with pytest.raises(EckartError, match="line 2: 3 cells where the first row has 2"):
        read(written(tmp_path, "a,b\n1,2,\n3,4,\n"))


@READERS
def test_decimal_commas_are_seen_wherever_they_begin(tmp_path, read):
    rows = [f"{i};{i % 7}" for i in range(5000)] + ["1,5;2"]
    found, notes = read(written(tmp_path, "\n".join(rows)))
    assert found[-1].tolist() == [1.5, 2.0]
    assert any("decimal commas" in note for note in notes)


def test_what_reduce_skips_is_shown_with_its_first_cell(tmp_path):
    path = written(tmp_path, "a,b,c\n1.5,true,x\n2.5,false,y\n3.1,true,z\n")
    found, notes = in_rows(path)
    assert found.tolist() == [[1.5], [2.5], [3.1]]
    assert any("(b: 'true' in line 2, c: 'x' in line 2)" in note for note in notes)


def test_what_goes_along_is_as_it_was_written(tmp_path):
    path = written(tmp_path, 'id,a\n007,1\nNA,2\n"",3\n 1.50 ,4\n')
    along = open_table(path, Selection(ids=("id",))).companions()
    assert along.take(4).column("id").to_pylist() == ["007", "NA", "", " 1.50 "]


@READERS
def test_a_column_is_asked_for_by_a_name_that_is_its_own(tmp_path, read):
    path = written(tmp_path, "v,w,v\n1,2,3\n")
    np.testing.assert_array_equal(read(path, columns=("v", "v"))[0], [[1, 3]])
    with pytest.raises(EckartError, match="has 2 columns 'v'"):
        read(path, columns=("v",))


@READERS
def test_lines_of_any_length_are_read(tmp_path, read):
    wide = 50_000
    text = ",".join(f"a gene of number {i}" for i in range(wide)) + "\n"
    text += ("1," * wide)[:-1] + "\n"
    found, _ = read(written(tmp_path, text))
    assert found.shape == (1, wide)


@READERS
def test_a_long_cell_in_quotes_may_be_broken_anywhere(tmp_path, read):
    cell = '"' + "long, and broken\n" * 40_000 + '"'
    path = written(tmp_path, f"a,b,c\n1,{cell},2\n3,x,4\n5,y,6\n")
    found, _ = read(path, columns=("a", "c"))
    np.testing.assert_array_equal(found, [[1, 2], [3, 4], [5, 6]])


@READERS
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, read):
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    with pytest.raises(ArgumentError, match="is a pipe") as caught:
        read(path)
    assert caught.value.code == "not-a-file"


cells = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(sorted(MISSING)),
)


@given(
    table=st.integers(2, 4).flatmap(
        lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1)
    ),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quoted=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_both_readers_read_what_pandas_reads(
    tmp_path_factory, table, delimiter, quoted, end, encoding
):
    around = '"{}"' if quoted else "{}"
    lines = [["one", *(f"x{place}é" for place in range(1, len(table[0])))], *table]
    text = end.join(delimiter.join(around.format(cell) for cell in line) for line in lines)
    path = tmp_path_factory.mktemp("text") / "t.csv"
    path.write_bytes((text + end).encode(encoding))
    kept = pd.DataFrame(table).map(lambda cell: NAN if cell in MISSING else float(cell)).to_numpy()
    for read in (whole, in_rows):
        np.testing.assert_array_equal(read(path, index=False)[0], kept)


@given(st.text(max_size=12))
def test_a_cell_is_a_number_for_one_reader_if_it_is_for_the_other(cell):
    import pyarrow as pa

    for decimal in ".,":
        _, words = numbers(pa.array([cell]), decimal)
        assert words[0].as_py() != is_number(cell, decimal)


quoted_cells = st.tuples(
    st.text(alphabet='ab",\n\r', max_size=6), st.sampled_from(["", " ", "   "])
)


@given(st.lists(st.tuples(quoted_cells, quoted_cells), min_size=1, max_size=20), st.integers(1, 9))
def test_blocks_end_where_rows_end(tmp_path_factory, table, block):
    path = tmp_path_factory.mktemp("blocks") / "t.csv"
    around = [[before + '"' + text.replace('"', '""') + '"' for text, before in row]
              for row in table]  # fmt: skip
    lines = [f"{place},{','.join(cells)}\n" for place, cells in enumerate(around)]
    path.write_text("".join(lines), newline="")
    rows = TextRows(read_sample(path), header=False, least=1)
    rows.block = block
    import pyarrow as pa

    types = {1: pa.string(), 2: pa.string()}
    batches = list(rows.batches(types, as_written=True))
    for place in (0, 1):
        found = [cell for batch in batches for cell in batch.column(place).to_pylist()]
        assert found == [row[place][0] for row in table]


@READERS
def test_several_cells_of_a_row_may_be_broken(tmp_path, read):
    text = "".join(f'{place},"{"x" * (place % 89)}\n","{"y" * (place % 97)}\n"\n'
                   for place in range(9000))  # fmt: skip
    found, _ = read(written(tmp_path, "a,t,u\n" + text), columns=("a",))
    np.testing.assert_array_equal(found[:, 0], np.arange(9000))


@READERS
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# a,b\n1,2\n3,4\n", "(a, b;"),
        ("#,b\n1,2\n3,4\n", None),
        ("# by me\na b\n1 2\n3 4\n", "(a"),
    ],
)
def test_names_in_a_comment_are_a_header(tmp_path, read, text, names):
    found, notes = read(written(tmp_path, text), index=False)
    np.testing.assert_array_equal(found, [[1, 2], [3, 4]])
    assert any((names or "header") in note for note in notes)
