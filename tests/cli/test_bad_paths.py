"""Paths that lead nowhere, in the place of every path of every command: one sentence."""

import itertools
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.writers import WRITERS
from commandline import ROOT
from eckart.cli.main import main

BAD = {
    "empty": "",
    "the current folder": ".",
    "the folder above": "..",
    "the root": "/",
    "links in a circle": "circle",
    "a name of 255 bytes": "x" * 245 + "é" * 5,
    "a name too long": "x" * 300,
    "a path too long": "x/" * 3000,
    "no utf-8": os.fsdecode(b"caf\xe9"),
    "in a file": "W.npy/x",
    "in a missing folder": "missing/x",
    "an empty folder": "d",
    "a line break": "a\nb",
}
READERS = {
    "show": "show f.npz",
    "certify": "certify W.npy f.npz",
    "verify": "verify adapter base tuned",
    "recommend similar": "recommend similar model --item 100 --names names.csv",
    "recommend explain": "recommend explain model --user ada --item 100 --names names.csv",
}
LINES = {name: writer.line for name, writer in WRITERS.items() if writer.runs} | READERS


def bad(kind, suffix):
    """A bad path of this suffix, made where it has to be there."""
    name = BAD[kind]
    if kind in ("empty", "the current folder", "the folder above", "the root"):
        return name
    if kind == "a name of 255 bytes":
        return name[len(suffix) :] + suffix
    path = f"{name}{suffix}"
    if kind == "links in a circle" and not Path(path).is_symlink():
        Path(path).symlink_to(path)
    if kind == "an empty folder":
        Path(path).mkdir(exist_ok=True)
    return path


def refused(words, capsys):
    """The exit status of a line that has to end in a sentence."""
    status = main([*words, "--json"])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert status in (0, 1, 2), words
    return status


@pytest.mark.parametrize("name", LINES)
def test_every_path_of_every_command_may_lead_nowhere(name, place, capsys):
    words = shlex.split(LINES[name])
    output = "o" + (WRITERS[name].suffix if name in WRITERS else "")
    forced = ["--force"] if name in WRITERS else []
    places = [at for at, word in enumerate(words) if word == "{}" or Path(word).exists()]
    for kind, at in itertools.product(BAD, places):
        is_output = words[at] == "{}"
        if kind == "the root" and not is_output:
            continue  # a table in a folder is looked for in all that is below
        line = [output if word == "{}" else word for word in words]
        line[at] = bad(kind, WRITERS[name].suffix if is_output else Path(words[at]).suffix)
        status = refused([*line, *forced], capsys)
        assert status or is_output, line
        if is_output:
            removed(line[at], kind)


def removed(path, kind):
    """Take away what was written under a strange name."""
    if kind in ("a name of 255 bytes", "no utf-8", "a line break"):
        shutil.rmtree(path, ignore_errors=True)
        Path(path).unlink(missing_ok=True)


@pytest.mark.parametrize("stem", [b"x" * 251, "é".encode() * 125, b"caf\xe9", b"a\nb", b"a.b"])
@pytest.mark.parametrize(
    "line",
    ["factor {}.npy --rank 1", "factor {}.csv --rank 1", "apply f.npz {}.csv",
     "truncate {}.npz --rank 1", "reduce {}.csv --rank 1", "reduce {}.npy --rank 1",
     "factor {}.npy --rank 1 --report {}.html", "reduce {}.csv --rank 1 --report {}.html",
     "recommend fit {}.csv --rank 1 --regularization 1 --report {}.html"],
)  # fmt: skip
def test_a_strange_name_is_read_and_has_its_default_output(line, stem, place, capsys):
    name = os.fsdecode(stem)
    for source, suffix in (("W.npy", ".npy"), ("X.csv", ".csv"), ("f.npz", ".npz")):
        wanted = "ratings.csv" if "recommend" in line and suffix == ".csv" else source
        shutil.copy(wanted, f"{name}{suffix}")
    status = refused(line.replace("{}", name).split(" "), capsys)
    assert status in ((0, 1, 2) if len(stem) > 200 or stem == b"caf\xe9" else (0,))


@pytest.mark.parametrize(
    "words", ["truncate . --rank 1", "show .", "truncate . --rank 1 -o .", "merge . . -o .",
              "extract . . --rank 1 -o .", "factor . --rank 1", "reduce . --rank 1",
              "recommend fit . --rank 1"],
)  # fmt: skip
@pytest.mark.parametrize("folder", ["pair", "adapter", "base", "model"])
def test_a_folder_may_be_named_from_within(words, folder, place, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = sorted(os.listdir())  # noqa: PTH208 names alone
    refused(words.split(), capsys)
    assert sorted(os.listdir()) == before  # noqa: PTH208


def test_the_demo_is_not_written_to_a_file(place, capsys):
    for output in ("W.npy", "W.npy/x", "", "x" * 300):
        assert refused(["demo", "-o", output], capsys)


@pytest.mark.parametrize(
    "words", ["show f.npz", "show f.npz --json", "--help", "--version", "factor --help",
              "factor W.npy --rank 1 --force", "factor nothing.npy --json"],
)  # fmt: skip
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_disk_behind_a_stream_is_one_sentence(words, stream, place):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        done = subprocess.run(
            [sys.executable, "-m", "eckart", *words.split()], check=False, text=True, **streams,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
    assert "Traceback" not in (done.stderr or "") + (done.stdout or "")
    assert "Exception" not in (done.stderr or "")
    if stream == "stdout":
        assert done.returncode == 1
        assert "disk is full" in done.stderr
    else:
        assert done.returncode in (0, 2)


IN_FOLDERS = {
    "pair": ("show pair", "truncate pair --rank 1 -o o --force"),
    "adapter": ("merge base adapter -o o --force", "verify adapter base tuned",
                "compare-adapters small adapter",
                "extract --again adapter --rank 1 -o o --force",
                "truncate pair --rank 1 -o adapter --force"),
    "base": ("extract base tuned --rank 1 --no-check -o o --force",
             "compare-adapters adapter --delta base tuned"),
    "model": ("recommend similar model --item 100", "recommend remove model --user ada -o o"),
}  # fmt: skip


class Waited(BaseException):
    """It was waited for a pipe."""


@pytest.fixture
def impatient():
    """End a test that waits for a pipe."""

    def late(*_arguments):
        raise Waited

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("folder", IN_FOLDERS)
def test_a_pipe_in_the_place_of_a_file_of_a_folder_is_not_waited_for(folder, place, capsys):
    for path in [one for one in sorted(Path(folder).rglob("*")) if one.is_file()]:
        kept = path.read_bytes()
        for line in IN_FOLDERS[folder]:
            path.unlink()
            os.mkfifo(path)
            refused(line.split(), capsys)
            path.unlink()
            path.write_bytes(kept)
            shutil.rmtree("o", ignore_errors=True)
            shutil.rmtree("o.unfinished", ignore_errors=True)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", LINES)
def test_a_pipe_in_the_place_of_an_input_is_not_waited_for(name, place, capsys):
    words = shlex.split(LINES[name])
    output = "o" + (WRITERS[name].suffix if name in WRITERS else "")
    for at in [at for at, word in enumerate(words) if Path(word).is_file()]:
        line = [output if word == "{}" else word for word in words]
        line[at] = f"pipe{Path(words[at]).suffix}"
        if not Path(line[at]).exists():
            os.mkfifo(line[at])
        assert refused(line, capsys) in (1, 2)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("line", "status"),
    [("show f.npz", 0), ("show f.npz --json", 0), ("--help", 0), ("factor nothing.npy", 2),
     ("factor W.npy --rank 1 -o o.npz", 0)],
)  # fmt: skip
def test_a_closed_stream_is_one_that_nobody_reads(closed, line, status, place):
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m eckart {line} {closed}"],
        check=False, text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == status
    if "o.npz" in line:
        assert main(["show", "o.npz"]) == 0


REDUCE = "reduce X.csv --rank 1 -o o.csv"
SIGNALLED = """
import builtins, os, signal, sys
imported, real, moment = [0], builtins.__import__, int(sys.argv[1])
def counting(*arguments, **names):
    imported[0] += 1
    if imported[0] == moment:
        os.kill(os.getpid(), signal.SIGINT)
    return real(*arguments, **names)
sys.argv[1:] = sys.argv[2:]
import eckart
builtins.__import__ = counting
from eckart.cli import run
run()
"""


@pytest.mark.parametrize("moment", [8, 300, 900, 2500, 6000])
def test_ctrl_c_while_packages_are_loaded_is_one_sentence(moment, place):
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(moment), *REDUCE.split()],
        check=False, text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 130)
