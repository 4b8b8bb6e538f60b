"""Nothing of the user's is destroyed, whatever is forced: laws over every command that writes."""

import itertools
import json
import os
from pathlib import Path

import click
import pytest

from cli.writers import WRITERS
from eckart.cli.main import COMMANDS, group, main
from eckart.errors import ArgumentError
from eckart.files import check_output
from eckart.files.outputs import MARKER, SIGNED
from eckart.recommend.commands import COMMANDS as PARTS
from killing import KILLS, Outputs, asked, moments

WAYS = ("itself", "link", "hard link", "above", "inside", "link to above")
OTHERS = ("unknown-suffix", "output-of-another-kind")
FOLDERS = [name for name, writer in WRITERS.items() if writer.is_folder]
RUNNING = [name for name, writer in WRITERS.items() if writer.runs]


@pytest.fixture
def code(capsys):
    """Run a command line that has to be refused, and give the code of its error."""

    def go(words):
        capsys.readouterr()
        status = main([*words, "--force", "--json"])
        out = capsys.readouterr().out
        assert status == 2, (words, out)
        return json.loads(out)["error"]["code"]

    return go


def contents(folder):
    """Every file below a folder, and what it holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def hidden(folder="."):
    """What is left of a workplace."""
    return [str(path) for path in Path(folder).rglob(".eckart-*")]


def test_every_command_that_writes_is_in_the_table():
    context = click.Context(group)
    commands = {name: group.get_command(context, name) for name in COMMANDS}
    recommend = commands.pop("recommend")
    commands |= {f"recommend {one}": recommend.get_command(context, one) for one in PARTS}
    writing = {
        name
        for name, command in commands.items()
        if {"output", "report"} & {parameter.name for parameter in command.params}
    }
    tested = {writer.line.partition(" ")[0] for writer in WRITERS.values()} - {"recommend"}
    tested |= {" ".join(writer.line.split()[:2]) for writer in WRITERS.values()}
    assert writing <= tested


def named_output(way, source, suffix, place):
    """A path that leads to, above or into what is read; None where there is no such way."""
    if way == "itself":
        return source
    if way == "above":
        return Path("..", Path.cwd().name)
    if way == "inside":
        return source / f"in{suffix}" if source.is_dir() else None
    link = place / f"link{suffix}"
    if way == "hard link":
        if source.is_dir():
            return None
        link.hardlink_to(source)
    else:
        link.symlink_to(source.resolve() if way == "link" else Path.cwd())
    return link


@pytest.mark.parametrize("name", WRITERS)
def test_an_output_is_no_input_nor_above_nor_inside_one(name, place, code):
    writer = WRITERS[name]
    before = contents(place)
    for way, source in itertools.product(WAYS, map(Path, writer.inputs)):
        output = named_output(way, source, writer.suffix, place)
        if output is None:
            continue
        got = code(writer.words(output))
        # the suffix of a folder, or of what is read, may be refused first
        assert got in ("output-is-input", *(() if way in ("link", "hard link") else OTHERS))
        (place / f"link{writer.suffix}").unlink(missing_ok=True)
        assert contents(place) == before


@pytest.mark.parametrize("name", ["recommend add", "recommend remove", "reduce --update"])
def test_what_is_updated_may_be_its_own_output(name, place):
    own = "model" if "recommend" in name else "s.model.npz"
    before = Path(own).stat().st_ino
    assert main([*WRITERS[name].words(own), "--force"]) == 0
    assert Path(own).stat().st_ino != before
    assert not hidden()


@pytest.mark.parametrize("name", ["factor a picture", "reduce", "recommend export", "extract"])
def test_what_goes_beside_an_output_is_an_output_too(name, place, code, capsys):
    """The picture, the loadings and the model, the ids, the unfinished work."""
    lines = {
        "factor a picture": ("p.png", "o.approximation.png", "factor {} --rank 1 -o o.npz"),
        "reduce": ("X.csv", "o.loadings.csv", "reduce {} --rank 1 -o o.csv"),
        "extract": ("base", "o.unfinished", "extract {} tuned --rank 1 -o o"),
    }
    if name == "recommend export":
        Path("o.ids.txt").write_text("mine")
        capsys.readouterr()
        assert main(["recommend", "export", "model", "-o", "o.npy"]) == 2
        assert Path("o.ids.txt").read_text() == "mine"
        return
    source, target, line = lines[name]
    Path(source).rename(target)
    before = contents(place)
    assert code(line.format(target).split()) == "output-is-input"
    assert contents(place) == before


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_replaced_only_if_all_in_it_was_written_by_eckart(name, place, code):
    writer = WRITERS[name]
    assert main(writer.words("o")) == 0
    assert (Path("o") / MARKER).is_file()
    assert main([*writer.words("o"), "--force"]) == 0
    strange = [Path("o/thesis.txt"), Path("o/notes/thesis.txt"), Path("o/.hidden")]
    for path in strange:
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
        before = contents(place)
        assert code(writer.words("o")) == "output-holds-others"
        assert contents(place) == before
        path.unlink()
    Path("o/notes").rmdir()
    Path("o/notes").symlink_to(place)
    assert code(writer.words("o")) == "output-holds-others"
    Path("o/notes").unlink()
    Path("o/empty").mkdir()
    assert code(writer.words("o")) == "output-holds-others"
    Path("o/empty").rmdir()
    assert main([*writer.words("o"), "--force"]) == 0
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    assert code(writer.words("mine")) == "output-holds-others"
    Path("file").write_text("mine")
    assert code(writer.words("file")) == "output-of-another-kind"
    assert Path("file").read_text() == "mine"
    assert not hidden()


@pytest.mark.parametrize(
    "names",
    [
        ("A.csv", "B.csv", "factors.json"),
        ("adapter_config.json", "adapter_model.safetensors", "report.json", "README.md"),
        ("report.json", "report.html", "README.md"),
        ("model.json", "factors.safetensors", "users.parquet", "history.parquet"),
        ("settings.json", "00001.png", "00002.png"),
        ("settings.json", "00001.json", "00002.first.safetensors", "adapter/README.md"),
        ("article.csv", "article.html", "article.factors.npz"),
    ],
)
def test_names_that_eckart_gives_too_tell_nothing_of_who_wrote_a_folder(names, place, code):
    for name in names:
        Path("o", name).parent.mkdir(exist_ok=True, parents=True)
        Path("o", name).write_text('{"resolution": 512}')
    before = contents(place)
    for writer in ("factor to a folder", "extract"):
        assert code(WRITERS[writer].words("o")) == "output-holds-others"
    Path("o").rename("p.unfinished")
    assert code(WRITERS["extract"].words("p")) == "output-holds-others"
    Path("p.unfinished").rename("o")
    assert contents(place) == before


def test_an_empty_folder_is_replaced(place):
    Path("o").mkdir()
    assert main([*WRITERS["factor to a folder"].words("o"), "--force"]) == 0
    assert (Path("o") / MARKER).is_file()


@pytest.mark.parametrize("link", ["symbolic", "hard", "to its folder"])
def test_what_links_deep_in_a_folder_lead_to_is_an_input(link, tmp_path):
    folder, file = tmp_path / "year=2024" / "month=1", tmp_path / "elsewhere" / "part.parquet"
    folder.mkdir(parents=True)
    file.parent.mkdir()
    file.write_text("years of work")
    if link == "symbolic":
        (folder / "part.parquet").symlink_to(file)
    elif link == "hard":
        (folder / "part.parquet").hardlink_to(file)
    else:
        (folder / "more").symlink_to(file.parent)
    with pytest.raises(ArgumentError, match="read or written too"):
        check_output(file, force=True, inputs=[tmp_path / "year=2024"])


def test_a_folder_is_the_same_in_other_letters_or_by_a_second_mount(tmp_path, monkeypatch):
    """As on a disk that does not tell letters apart: paths differ, and the system knows better."""
    monkeypatch.setattr(Path, "samefile", lambda one, other: f"{one}".lower() == f"{other}".lower())
    for name in ("model", "MODEL"):
        (tmp_path / name / "SUB").mkdir(parents=True)
    source = tmp_path / "model" / "sub"
    for output in ("MODEL/SUB/x.npz", "MODEL", "MODEL/SUB"):
        with pytest.raises(ArgumentError, match="read or written too"):
            check_output(tmp_path / output, force=True, inputs=[source], is_folder=True)
    check_output(tmp_path / "MODEL" / "x", force=True, inputs=[source], is_folder=True)


def test_where_a_disk_is_mounted_nothing_is_put(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    (tmp_path / "disk").mkdir()
    with pytest.raises(ArgumentError, match="a folder in it"):
        check_output(tmp_path / "disk", force=True, is_folder=True)
    check_output(tmp_path / "disk" / "o", force=True, is_folder=True)


@pytest.mark.parametrize("name", RUNNING)
def test_a_kill_leaves_the_old_or_the_new_and_nothing_after_the_next_run(name, place):
    """Where several files belong together, all are old or all are new."""
    writer = WRITERS[name]
    words = [*writer.words(writer.output), "--force", "--quiet"]
    furnished = set(Path().iterdir())
    assert main(words) == 0
    there = set(Path().iterdir())
    outputs = Outputs(there - furnished)
    for number, moment in enumerate(moments(asked(lambda: main(words)), KILLS, name)):
        before = outputs.state()
        asked(lambda: main(words), moment)
        assert not outputs.wrong(), moment
        assert outputs.are_together(before), moment
        if number % 10 == 9:
            assert main(words) == 0
            assert set(Path().iterdir()) == there


@pytest.mark.parametrize("name", RUNNING)
def test_a_link_as_output_updates_its_target(name, place):
    writer = WRITERS[name]
    Path("elsewhere").mkdir()
    target, link = Path("elsewhere", writer.output), Path(f"link{writer.suffix}")
    link.symlink_to(target)
    for _ in range(2):  # what is not there yet, and what is
        for beside in Path().glob("link.*"):
            if not beside.is_symlink():
                beside.unlink()
        assert main([*writer.words(link), "--force"]) == 0
        assert link.is_symlink()
        assert target.exists()
        assert target.is_dir() == writer.is_folder
    assert not hidden()


@pytest.mark.parametrize("name", WRITERS)
def test_a_pipe_a_device_and_a_folder_are_no_place_for_a_file(name, place, code):
    writer = WRITERS[name]
    os.mkfifo(f"pipe{writer.suffix}")
    assert code(writer.words(f"pipe{writer.suffix}")) == "output-is-no-file"
    Path(f"null{writer.suffix}").symlink_to("/dev/null")
    assert code(writer.words(f"null{writer.suffix}")) == "output-is-no-file"
    if not writer.is_folder:
        folder = Path(f"d{writer.suffix}")
        folder.mkdir()
        (folder / "thesis.txt").write_text("years of work")
        assert code(writer.words(folder)) in (
            "output-of-another-kind", "output-holds-others", "unknown-suffix",
        )  # fmt: skip
        assert (folder / "thesis.txt").read_text() == "years of work"
    assert not hidden()


def test_the_folder_that_one_is_in_is_not_replaced(place, code, monkeypatch):
    (place / "empty").mkdir()
    monkeypatch.chdir(place / "empty")
    line = ["extract", "../place/base", "../place/tuned", "--rank", "1", "-o"]
    for output in (".", "..", str(place / "empty")):
        assert code([*line, output]).startswith("output-")
    assert list(Path().iterdir()) == []


def test_a_model_is_updated_from_within(place, monkeypatch, capsys):
    for words in (["add", ".", "../more.csv"], ["remove", ".", "--user", "new"]):
        monkeypatch.chdir(place / "place" / "model")
        assert main(["recommend", *words]) == 0
        assert "cd ." in capsys.readouterr().err


def test_unfinished_work_with_a_file_of_the_users_is_kept(place, code):
    Path("o.unfinished").mkdir()
    Path("o.unfinished/thesis.txt").write_text("years of work")
    assert code(WRITERS["extract"].words("o")) == "output-holds-others"
    assert Path("o.unfinished/thesis.txt").is_file()


def test_unfinished_work_with_a_folder_that_a_killed_run_emptied_is_cleared(place):
    Path("o.unfinished/adapter").mkdir(parents=True)
    Path("o.unfinished/settings.json").write_text(json.dumps(SIGNED))
    assert main([*WRITERS["extract"].words("o"), "--force"]) == 0
    assert not Path("o.unfinished").exists()


def test_factors_in_a_folder_are_cut_to_the_documented_name(place):
    assert main(["truncate", "pair", "--rank", "1"]) == 0
    assert (Path("pair.rank1") / "B.csv").is_file()


def test_a_report_lies_apart_from_the_other_outputs(place, code):
    words = WRITERS["recommend fit --report"].words("x/r.html")
    assert main([*words[:-2], "--quiet"]) == 0
    assert code(words) == "output-is-input"
    assert not Path("x/r.html").exists()


def test_without_force_what_is_there_stays(place):
    for name, writer in WRITERS.items():
        output = Path(f"there{writer.suffix}")
        if not output.exists():
            output.write_text("mine")
        assert main(writer.words(output)) == 2, name
        assert output.read_text() == "mine"
