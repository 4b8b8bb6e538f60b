"""Values that mean nothing, in the place of that of every option of every command: one sentence."""

import json
import shlex
import shutil
from pathlib import Path

import click
import pytest

from cli.test_bad_paths import READERS
from cli.writers import WRITERS
from eckart.cli.main import COMMANDS, group, main
from eckart.recommend.commands import COMMANDS as PARTS

VALUES = (
    "", " ", "x", "-", "-1", "0", "1.5", "nan", "inf", "-inf", "1e400", "1e-400", "1_000", "٣",
    "½", "²", "9" * 5000, "0x10", "true", "None", "1,2", ",", ";", "=", "a=b", "a=²", "1:2", "[",
    "a\nb", "x" * 5000, "1 MB", "🙂",
)  # fmt: skip
LINES = {
    "factor": WRITERS["factor"].line,
    "compare": WRITERS["compare --report"].line,
    "apply": WRITERS["apply"].line,
    "expand": WRITERS["expand"].line,
    "truncate": WRITERS["truncate"].line,
    "extract": WRITERS["extract"].line,
    "merge": WRITERS["merge"].line,
    "join": WRITERS["join"].line,
    "compare-adapters": "compare-adapters adapter small",  # without models it takes no time
    "calibrate": WRITERS["calibrate"].line,
    "finetune": "finetune network labels.csv -o W.npy/{}",  # a run takes half a second
    "reduce": WRITERS["reduce"].line,
    **{
        f"recommend {part}": WRITERS[f"recommend {part}"].line
        for part in ("fit", "add", "remove", "top", "predict", "export")
    },
    "demo": "demo -o W.npy/{}",  # refused, whatever else is asked for
    **READERS,
}


def command_of(name):
    """The command of a name of one or two words."""
    context = click.Context(group)
    first, _, second = name.partition(" ")
    found = group.get_command(context, first)
    return found.get_command(context, second) if second else found


def valued(command):
    """The options of a command that take values."""
    return [
        parameter.opts[0]
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.is_flag
    ]


def test_every_command_has_a_line():
    parts = {f"recommend {part}" for part in PARTS}
    assert set(LINES) == {*COMMANDS, *parts} - {"recommend"}


def cleared(path):
    """Take away what a line before has written."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", LINES)
def test_every_option_refuses_what_means_nothing_in_one_sentence(name, place, capsys, monkeypatch):
    # what is accepted runs; the looks of its pages take longer than all the rest, and are no matter
    monkeypatch.setattr("plotly.graph_objects.Figure.update_layout", lambda self, *_, **__: self)
    output = Path("o" + (Path(WRITERS[name].output).suffix if name in WRITERS else ""))
    line = shlex.split(LINES[name].replace("{}", str(output)))
    for place, option in enumerate(valued(command_of(name))):
        # every second one, and the others with the next option: kinds of options come again
        for value in VALUES[place % 2 :: 2]:
            cleared(output)
            capsys.readouterr()
            words = [*line, option, value, "--json"]
            status = main(words)
            out, err = capsys.readouterr()
            assert "Traceback" not in out + err, words
            assert status in (0, 1, 2, 3), words
            if status in (1, 2):
                error = json.loads(out)["error"]
                assert error["message"].strip(), words
                assert error["code"], words
                assert not output.exists(), words
