"""Files that belong together, and the list by which a folder of eckart's is known."""

import contextlib
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from adapters.pairs import saved_pair
from eckart.adapters import extract_adapter
from eckart.adapters.join_and_truncate import truncate_adapter
from eckart.adapters.merge import merge_adapters
from eckart.checkpoints import open_checkpoint
from eckart.checkpoints.peft import read_adapter
from eckart.cli.main import main
from eckart.errors import ArgumentError, StorageError
from eckart.factors import Factors
from eckart.files import read_factors, read_matrix, whole_files, write_factors, writing
from eckart.files.outputs import MARKER, PAGE, PAGES, located, mark, strangers
from eckart.files.writing import TOGETHER, settle
from killing import KILLS, asked, moments

NAMES = ("a.csv", "b.npz", "c.npy")


def write(folder, text):
    """Three files that belong together, with one text."""
    with whole_files([folder / name for name in NAMES]) as places:
        for place in places:
            place.write_text(text)


def texts(folder):
    return [(folder / name).read_text() for name in NAMES]


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def workplace(path):
    return writing._folder(located(path))


@pytest.mark.parametrize("read", NAMES)
def test_files_are_old_or_new_together_once_one_of_them_is_read(read, tmp_path):
    write(tmp_path, "old")
    seen = asked(lambda: write(tmp_path, "old"))
    mixtures = 0
    for number, moment in enumerate(moments(seen, KILLS, 0)):
        before, new = texts(tmp_path), f"new {number}"
        asked(lambda new=new: write(tmp_path, new), moment)
        mixtures += len(set(texts(tmp_path))) > 1
        settle(tmp_path / read)
        assert texts(tmp_path) in (before, [new] * 3)
        if number % 5 == 4:
            write(tmp_path, new)
            assert left(tmp_path) == sorted(NAMES)
    assert mixtures  # or nothing was tried


def test_one_of_several_is_written_after_the_others_are_in_place(tmp_path, monkeypatch):
    write(tmp_path, "old")
    put = writing.put

    def once(made, target):
        if target.name != "c.npy":
            raise KeyboardInterrupt
        put(made, target)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "put", once)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, "new")
    assert texts(tmp_path) == ["old", "old", "new"]
    with whole_files([tmp_path / "b.npz"]) as (place,):
        assert texts(tmp_path) == ["new"] * 3
        place.write_text("newer")
    assert texts(tmp_path) == ["new", "newer", "new"]
    assert left(tmp_path) == sorted(NAMES)


def test_what_is_interrupted_between_two_files_is_finished(tmp_path, monkeypatch):
    write(tmp_path, "old")
    put, pressed = writing.put, []

    def pressing(made, target):
        if len(pressed) == 1:
            pressed.append(2)
            raise KeyboardInterrupt
        pressed.append(1)
        put(made, target)

    monkeypatch.setattr(writing, "put", pressing)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "new")
    assert texts(tmp_path) == ["new"] * 3
    assert left(tmp_path) == sorted(NAMES)


def test_where_nothing_can_be_put_in_place_a_mixture_is_refused(tmp_path, monkeypatch):
    write(tmp_path, "1\n")
    seen = asked(lambda: write(tmp_path, "1\n"))
    last = [moment for moment, places in seen.items() if places][-1]
    asked(lambda: write(tmp_path, "2\n"), last)
    assert len(set(texts(tmp_path))) == 2

    def refuse(*_arguments):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "_lock", refuse)
        with pytest.raises(StorageError) as error:
            read_matrix(tmp_path / "a.csv")
    assert error.value.code == "half-replaced"
    assert read_matrix(tmp_path / "a.csv").shape == (1, 1)
    assert texts(tmp_path) == ["2\n"] * 3


@pytest.mark.parametrize(
    "names", [["a.csv", "../mine/thesis.txt"], ["a.csv", "/etc/hostname"], ["a.csv", ".."],
              ["a.csv", ""], ["a.csv", 3], "a.csv", {"a.csv": 1}, ["a.csv", "b\0"], None],
)  # fmt: skip
def test_a_list_of_files_that_names_another_folder_moves_nothing(names, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    place = tmp_path / "place"
    place.mkdir()
    (place / "a.csv").write_text("1\n")
    planted = workplace(place / "a.csv")
    (planted / "new").mkdir(parents=True)
    (planted / "new" / "a.csv").write_text("2\n")
    (planted / TOGETHER).write_text(json.dumps(names))
    assert read_matrix(place / "a.csv").shape == (1, 1)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert (place / "a.csv").read_text() == "1\n"


@pytest.mark.parametrize("linked", ["new", "new/thesis.txt", "old"])
def test_no_link_leads_out_of_a_workplace(linked, tmp_path):
    (tmp_path / "mine").mkdir()
    mine, place = tmp_path / "mine" / "thesis.txt", tmp_path / "place"
    mine.write_text("years of work")
    mine.chmod(0o600)
    place.mkdir()
    if linked != "old":
        (place / "thesis.txt").write_text("")
    planted = workplace(place / "thesis.txt")
    planted.mkdir()
    (planted / TOGETHER).write_text('["thesis.txt"]')
    if linked == "new/thesis.txt":
        (planted / "new").mkdir()
        (planted / linked).symlink_to(mine)
    else:
        (planted / linked).symlink_to(tmp_path / "mine")
    with contextlib.suppress(StorageError):
        settle(place / "thesis.txt")
    assert mine.read_text() == "years of work"
    assert mine.stat().st_mode & 0o777 == 0o600


def test_two_outputs_of_a_run_are_not_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt("X.csv", np.random.default_rng(0).standard_normal((6, 4)), delimiter=",")
    Path("o.csv").write_text("mine")
    Path("o.loadings.csv").symlink_to("o.csv")
    assert main(["reduce", "X.csv", "--rank", "1", "-o", "o.csv", "--force", "--no-header"]) == 2
    assert Path("o.csv").read_text() == "mine"


def pair(rank):
    generator = np.random.default_rng(rank)
    return Factors(generator.standard_normal((6, rank)), generator.standard_normal((rank, 5)))


def changed(path, of):
    """Change a folder in a way that another program, or a person, may."""
    if of == "a file is written anew":
        (path / "B.csv").write_text("1.0\n2.0\n")
    elif of == "a byte is another":
        text = (path / "A.csv").read_bytes()
        (path / "A.csv").write_bytes(bytes([text[0] ^ 1]) + text[1:])
    elif of == "a line is added":
        with (path / "factors.json").open("a") as file:
            file.write("\n")
    elif of == "a folder has its name":
        (path / "A.csv").unlink()
        (path / "A.csv").mkdir()
    elif of == "a link has its name":
        (path / "A.csv").rename(path.parent / "A.csv")
        (path / "A.csv").symlink_to(path.parent / "A.csv")
    elif of == "a pipe has its name":
        (path / "A.csv").unlink()
        os.mkfifo(path / "A.csv")


@pytest.mark.parametrize(
    "of", ["a file is written anew", "a byte is another", "a line is added",
           "a folder has its name", "a link has its name", "a pipe has its name"],
)  # fmt: skip
def test_a_folder_with_a_file_that_was_changed_is_not_replaced(of, tmp_path):
    write_factors(tmp_path / "f", {"": pair(1)})
    changed(tmp_path / "f", of)
    with pytest.raises(ArgumentError, match="changed since") as error:
        write_factors(tmp_path / "f", {"": pair(2)}, force=True)
    assert error.value.code == "output-holds-others"
    assert left(tmp_path) == sorted({"f", *(["A.csv"] if "link" in of else [])})


@pytest.mark.parametrize("of", ["copied", "less a file", "moved", "touched"])
def test_a_folder_as_it_was_written_is_replaced(of, tmp_path):
    folder = tmp_path / "f"
    write_factors(folder, {"": pair(1)})
    if of == "copied":
        shutil.copytree(folder, tmp_path / "g", copy_function=shutil.copyfile)
        folder = tmp_path / "g"
    elif of == "less a file":
        (folder / "A.csv").unlink()
    elif of == "moved":
        folder = folder.rename(tmp_path / "g")
    else:
        os.utime(folder / "A.csv", (1, 1))
    write_factors(folder, {"": pair(2)}, force=True)
    assert read_factors(folder).rank == 2


def test_a_marker_is_the_same_for_the_same_files(tmp_path):
    for name in ("f", "g"):
        write_factors(tmp_path / name, {"": pair(1)})
    assert (tmp_path / "f" / MARKER).read_bytes() == (tmp_path / "g" / MARKER).read_bytes()


def test_a_large_file_is_known_by_its_pages(tmp_path):
    large = np.random.default_rng(0).bytes(3 * PAGE * PAGES + 17)
    (tmp_path / "large").write_bytes(large)
    mark(tmp_path)
    assert strangers(tmp_path) == []
    for place in (0, len(large) - 1):
        with (tmp_path / "large").open("r+b") as file:
            file.seek(place)
            file.write(bytes([large[place] ^ 1]))
        assert strangers(tmp_path) == ["large"]
        (tmp_path / "large").write_bytes(large)
    (tmp_path / "large").write_bytes(np.random.default_rng(1).bytes(len(large)))
    assert strangers(tmp_path) == ["large"]


def test_adapters_and_checkpoints_are_read_while_they_are_replaced(tmp_path):
    base, tuned = saved_pair(tmp_path)
    extract_adapter(base, tuned, tmp_path / "a", rank=2)
    truncate_adapter(tmp_path / "a", tmp_path / "cut", rank=1)
    merge_adapters(base, [tmp_path / "a"], tmp_path / "m")
    done, found = threading.Event(), []

    def read():
        while not done.is_set():
            ranks = {layer.rank for layer in read_adapter(tmp_path / "cut").layers}
            found.append((ranks, len(open_checkpoint(tmp_path / "m").tensors)))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(8):
        truncate_adapter(tmp_path / "a", tmp_path / "cut", rank=1 + turn % 2, force=True)
        merge_adapters(base, [tmp_path / "a"], tmp_path / "m", force=True)
    done.set()
    reader.join()
    assert len(found) > 1
    assert all(max(ranks) <= 2 and count == found[0][1] for ranks, count in found)
