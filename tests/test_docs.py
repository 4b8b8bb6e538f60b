"""The README and the docs: their examples run, and no command or option is missing."""

import doctest
import re
import shlex
import shutil
from pathlib import Path

import pytest

from adapters.pairs import extracted
from eckart.cli.main import COMMANDS, group, main
from eckart.recommend.commands import COMMANDS as PARTS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A tiny base model, its fine-tune and an adapter of the two: what a user would have."""
    folder = tmp_path_factory.mktemp("models")
    extracted(folder)
    shutil.copytree(folder / "adapter", folder / "other")
    return folder


@pytest.fixture
def newcomer(tmp_path, monkeypatch, models):
    """A folder that holds the examples, as a clone does, and models."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_print_what_it_shows(page, newcomer, capsys):
    checker = doctest.OutputChecker()
    for block in blocks(page, "console"):
        for shown in re.split(r"^\$ ", block, flags=re.M)[1:]:
            line, _, expected = shown.partition("\n")
            words = shlex.split(line)
            assert words[0] == "eckart", line
            status = main(words[1:])
            captured = capsys.readouterr()
            got = captured.out + captured.err
            if not expected.strip():
                assert status == 0, f"$ {line}\n{got}"
                continue
            assert checker.check_output(expected, got, ELLIPSIS), f"$ {line}\n{got}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_a_page_gives_what_it_shows(page, newcomer):
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=ELLIPSIS)
    text = "\n".join(blocks(page, "pycon"))
    runner.run(parser.get_doctest(text, {}, page.name, str(page), 0))
    assert runner.failures == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_page_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("command", [*COMMANDS, *(f"recommend {part}" for part in PARTS)])
def test_every_command_has_a_page_with_all_its_options(command):
    text = (ROOT / "docs" / "commands" / f"{command.replace(' ', '-')}.md").read_text("utf-8")
    found = group
    for name in command.split():
        found = found.get_command(None, name)
    options = found.params
    missing = [
        name
        for option in options
        for name in option.opts
        if name.startswith("--") and f"`{name}" not in text
    ]
    assert missing == []
