"""Old or new, never neither: outputs under kills, two writers, and readers in between."""

import json
import random
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from adapters.pairs import saved_pair
from eckart.adapters import extract_adapter
from eckart.adapters.join_and_truncate import truncate_adapter
from eckart.adapters.merge import merge_adapters
from eckart.errors import ArgumentError, StorageError
from eckart.factors import Factors
from eckart.files import beside, check_output, read_factors, whole_file, write_factors, writing
from eckart.files.outputs import MARKER, located
from eckart.recommend import add_interactions, load_model, save_model
from eckart.recommend.storing import updated_model, write_model
from killing import KILLS, asked, moments
from recommend.samples import fitted


def contents(path):
    """What is at a path: the bytes of a file, or of all in a folder that its marker lists."""
    if path.is_file():
        return path.read_bytes()
    listed = json.loads((path / MARKER).read_text())["files"]
    found = {str(one.relative_to(path)) for one in path.rglob("*") if one.is_file()}
    assert found == {*listed, MARKER}
    timed = {"report.json", "report.html", "README.md"}
    return {name: (path / name).read_bytes() for name in listed if name not in timed}


def names(folder):
    return [path.name for path in folder.iterdir()]


def restored(path):
    """The same path after the next run of it, which fails in its work."""
    with pytest.raises(RuntimeError), whole_file(path):
        raise RuntimeError
    return path


def factors(rank):
    generator = np.random.default_rng(rank)
    return Factors(generator.standard_normal((6, rank)), generator.standard_normal((rank, 5)))


def jobs(folder):
    """Ways to write an output, each with another content for another number."""
    base, tuned = saved_pair(folder)
    extract_adapter(base, tuned, folder / "a", rank=4)
    models = {rank: fitted(rank=rank) for rank in (1, 2)}
    return {
        "file.npz": lambda out, n: write_factors(out, {"": factors(n)}, force=True),
        "factors": lambda out, n: write_factors(out, {"": factors(n)}, force=True),
        "renamed": lambda out, n: write_factors(out, {"": factors(n)}, force=True),
        "truncated": lambda out, n: truncate_adapter(folder / "a", out, rank=n, force=True),
        "extracted": lambda out, n: extract_adapter(base, tuned, out, rank=n, force=True),
        "merged": lambda out, n: merge_adapters(base, [folder / "a"], out, weights=[n], force=True),
        "model": lambda out, n: save_model(models[n], out, force=True),
    }


@pytest.mark.parametrize(
    "name", ["file.npz", "factors", "truncated", "extracted", "merged", "model", "renamed"]
)
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(name, tmp_path, monkeypatch):
    work, out = jobs(tmp_path)[name], tmp_path / "place" / name
    out.parent.mkdir()
    known = []
    for number in (1, 2):
        work(out, number)
        known.append(contents(out))
    assert known[0] != known[1]
    exchanges = name != "renamed"
    if not exchanges:
        monkeypatch.setattr(writing, "exchange", lambda _one, _other: False)
    generator = random.Random(0)
    for moment in moments(asked(lambda: work(out, 1)), KILLS, name):
        asked(lambda: work(out, 1 + (contents(out) == known[0])), moment)
        assert contents(out if exchanges else restored(out)) in known
        if generator.random() < 0.3:
            work(out, 2)
            assert contents(out) == known[1]
            assert names(out.parent) == [name]


def test_without_an_exchange_what_was_moved_aside_comes_back(tmp_path, monkeypatch):
    out = tmp_path / "f"
    write_factors(out, {"": factors(1)})
    with monkeypatch.context() as patch:
        patch.setattr(writing, "exchange", lambda _one, _other: False)
        patch.setattr(writing.shutil, "rmtree", lambda *_arguments, **_names: None)
        rename = Path.rename

        def once(path, target):
            if path.parent.name == writing.NEW:
                raise KeyboardInterrupt
            if path.parent.name != writing.OLD:
                rename(path, target)

        patch.setattr(Path, "rename", once)
        with pytest.raises(KeyboardInterrupt):
            write_factors(out, {"": factors(2)}, force=True)
    assert not out.exists()
    assert read_factors(restored(out)).rank == 1
    assert names(tmp_path) == ["f"]


def test_the_second_of_two_writers_waits(tmp_path):
    model = tmp_path / "m"
    save_model(fitted(), model)
    users = [2000 + number for number in range(6)]
    together = threading.Barrier(len(users))

    def add(name):
        together.wait()
        with updated_model(model, model, force=False) as (before, place):
            data = {"user": [name], "item": ["item 1"], "rating": [3.0]}
            write_model(add_interactions(before, data).model, place)

    threads = [threading.Thread(target=add, args=(name,)) for name in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(users) <= set(load_model(model).data.users.to_list())
    assert names(tmp_path) == ["m"]


def test_a_writer_that_waited_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "PATIENCE_SECONDS", 0.05)
    with whole_file(tmp_path / "W") as temporary:
        with pytest.raises(StorageError, match="Another run") as error, whole_file(tmp_path / "W"):
            pass
        assert error.value.code == "output-busy"
        temporary.write_text("whole")
    assert (tmp_path / "W").read_text() == "whole"


def test_of_two_writers_without_force_one_is_refused(tmp_path):
    together, codes = threading.Barrier(4), []

    def write(rank):
        together.wait()
        try:
            write_factors(tmp_path / "f", {"": factors(rank)})
            codes.append("")
        except ArgumentError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=write, args=(rank,)) for rank in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["", *["output-exists"] * 3]


def test_a_reader_sees_the_old_or_the_new(tmp_path):
    models = [fitted(rank=rank) for rank in (1, 2)]
    save_model(models[0], tmp_path / "m")
    write_factors(tmp_path / "f", {"": factors(1)})
    done, found = threading.Event(), []

    def read():
        while not done.is_set():
            found.append(load_model(tmp_path / "m").offset.rank)
            pair = read_factors(tmp_path / "f")
            assert np.array_equal(pair.B, factors(pair.rank).B)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(25):
        save_model(models[turn % 2], tmp_path / "m", force=True)
        write_factors(tmp_path / "f", {"": factors(1 + turn % 2)}, force=True)
    done.set()
    reader.join()
    assert set(found) <= {1, 2}
    assert len(found) > 1


@pytest.mark.parametrize("name", ["f.npz", "f"])
def test_the_new_has_the_permissions_of_the_old(name, tmp_path):
    write_factors(tmp_path / name, {"": factors(1)})
    (tmp_path / name).chmod(0o700)
    write_factors(tmp_path / name, {"": factors(2)}, force=True)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("bytes_of_name", [250, 255])
def test_a_name_may_be_as_long_as_the_system_allows(bytes_of_name, tmp_path):
    for suffix in (".npz", ""):
        path = tmp_path / ("é" * 100 + "x" * (bytes_of_name - 200 - len(suffix)) + suffix)
        write_factors(path, {"": factors(1)})
        write_factors(path, {"": factors(2)}, force=True)
        assert read_factors(path).rank == 2
    with pytest.raises(ArgumentError) as error:
        write_factors(tmp_path / ("x" * 252 + ".npz"), {"": factors(1)})
    assert error.value.code == "name-too-long"


def test_a_link_to_itself_is_no_output(tmp_path):
    (tmp_path / "W.npz").symlink_to("V.npz")
    (tmp_path / "V.npz").symlink_to("W.npz")
    with pytest.raises(ArgumentError) as error:
        write_factors(tmp_path / "W.npz", {"": factors(1)}, force=True)
    assert error.value.code == "links-in-a-circle"


@pytest.mark.parametrize("name", ["\0", "a\0b.npz", "a/b.npz", "W.npz/x.npz", "x" * 5000])
def test_what_is_no_place_for_a_file_is_refused(name, tmp_path):
    (tmp_path / "W.npz").write_text("a file")
    with pytest.raises(ArgumentError):
        check_output(tmp_path / name, force=True)


def test_a_workplace_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    writing._folder(located(tmp_path / "W")).symlink_to(tmp_path / "mine")
    with pytest.raises(StorageError), whole_file(tmp_path / "W") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "mine" / "thesis.txt").is_file()


def test_what_is_beside_a_path_without_a_name(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    assert beside(Path(), "x") == tmp_path / "x"
    assert beside(Path("/"), "x") == Path("/x")
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(ArgumentError):
        located(Path("x"))
