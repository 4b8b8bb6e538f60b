"""Whatever a file holds, it is read or refused in one sentence, in little time and memory."""

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings

from eckart.errors import EckartError
from fuzzing.corpus import CORPUS
from fuzzing.framing import framed, unframed
from fuzzing.judging import judge
from fuzzing.readers import TARGETS

TORCH = {"PyTorch"}
SLOW = {"model", "adapter", "unfinished extraction"}
"""Readers that go on to extract an adapter."""


@cache
def reader_of(name):
    """The reader of a name, after it has imported what it needs, which takes memory of its own."""
    target = TARGETS[name]
    if name in SLOW:
        judge(target.reader, next(target.seeds()))
    return target.reader


def named(names):
    return [pytest.param(name, marks=pytest.mark.torch if name in TORCH else ()) for name in names]


@pytest.mark.parametrize("reader", named(TARGETS))
def test_every_valid_file_is_read_or_refused_in_one_sentence(reader):
    verdicts = [judge(reader_of(reader), seed) for seed in TARGETS[reader].seeds()]
    assert [verdict.faults for verdict in verdicts] == [{}] * len(verdicts)
    assert sum(verdict.accepted for verdict in verdicts) > len(verdicts) / 2


@pytest.mark.parametrize("reader", named(CORPUS))
def test_what_once_was_a_fault_is_read_or_refused_in_one_sentence(reader):
    faults = {
        what: judge(reader_of(reader), framed(files)).faults
        for what, files in CORPUS[reader]().items()
    }
    assert {what: fault for what, fault in faults.items() if fault} == {}


@pytest.mark.parametrize("reader", named(TARGETS))
def test_what_is_wrong_somewhere_is_read_or_refused_in_one_sentence(reader):
    @settings(
        max_examples=5 if reader in SLOW else 25,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(TARGETS[reader].files())
    def law(files):
        assert judge(reader_of(reader), framed(files)).faults == {}

    law()


READ = {
    "npy": ("sizes as Python 2 wrote them",),
    "Parquet": ("pandas says no JSON", "titles in lists", "views of text"),
    "HDF5": ("a type with a name",),
    "Zarr": ("a folder of something else",),
}
"""Of what once was a fault, what is no damage."""


@pytest.mark.parametrize("reader", READ)
def test_what_is_no_damage_is_read(reader):
    inputs = CORPUS[reader]()
    assert all(judge(reader_of(reader), framed(inputs[what])).accepted for what in READ[reader])


@pytest.mark.parametrize(
    "reader", ["unfinished extraction", "recommender", "Matrix Market", "pictures"]
)
def test_what_does_not_fit_together_is_refused(reader):
    read = [what for what, files in CORPUS[reader]().items()
            if judge(reader_of(reader), framed(files)).accepted]  # fmt: skip
    assert read == []


@pytest.mark.parametrize(("depth", "is_read"), [(99, True), (101, False)])
def test_json_is_read_to_a_hundred_levels(depth, is_read):
    text = b'{"user": 1, "item": 2, "more": ' + b"[" * depth + b"]" * depth + b"}"
    assert judge(reader_of("JSON lines"), framed({"t.jsonl": text})).accepted == is_read


def test_an_error_is_one_line_whatever_it_names():
    error = EckartError("There is no 'a\nb\x1b[2J\ud800'.", hint="Give é\u2028.")
    assert str(error) == r"There is no 'a\nb\x1b[2J\ud800'. Give é\u2028."


def test_framed_files_are_the_files():
    files = {"a.csv": b"1\n--- b\n2", "c/d.json": b"", "W.npz!/x.npy": bytes(range(256))}
    assert unframed(framed({"c/d.json": b"", "W.npz!/x.npy": bytes(range(256))})) == {
        name: content for name, content in files.items() if name != "a.csv"
    }
    assert unframed(b"\n--- ../a\nx\n--- /b\nx\n--- ..\nx\n--- c/../../d\nx") == {}
