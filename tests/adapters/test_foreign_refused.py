"""What others wrote in place of an adapter, its patterns or a text: refused in one sentence."""

import pytest

from adapters.checkpoints import pair
from adapters.foreign import adapter, calls, edited, refusal
from adapters.pairs import saved_pair
from eckart.adapters import extract_adapter
from eckart.checkpoints.peft import read_adapter
from eckart.checkpoints.peft.scaling import check_cost
from eckart.cli.main import main


def test_an_output_of_a_dot_is_a_sentence(tmp_path, monkeypatch, capsys):
    base, tuned = saved_pair(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    status = main(["extract", str(base), str(tuned), "--rank", "2", "-o", "."])
    assert status == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_without_permission_is_a_sentence(tmp_path):
    base, tuned = saved_pair(tmp_path)
    said = refusal(lambda: extract_adapter(base, tuned, "/proc/x", rank=2))
    assert said.code in ("no-permission", "no-such-file", "cannot-write")


@pytest.mark.parametrize(
    "pattern",
    [
        "([a-z_.0-9]+)+$x",
        "(a*)*b",
        "(a|aa)+c",
        ".*.*.*.*.*x",
        "((ab)*)*",
        r"(.+\.)+(.+)+",
        "(?:.*?)+",
    ],
)
@pytest.mark.parametrize("number", range(3))
def test_patterns_that_never_end_are_refused(pattern, number, tmp_path):
    saved_pair(tmp_path)
    folder = edited(adapter(tmp_path / "adapter"), rank_pattern={pattern: 4})
    said = refusal(calls(folder, tmp_path)[number])
    assert said.code == "damaged-file"


@pytest.mark.parametrize(
    "pattern",
    [
        r"^model\.layers\.0\.q",
        r".*\.gate_up_proj",
        "q_proj",
        r"layers\.(0|1|2)\..*q_proj",
        r"^(?:.*\.)?layers\.\d+\.self_attn\.[qkv]_proj",
        r"model\.layers\.\d{1,2}\..*",
    ],
)
def test_patterns_as_people_write_them_are_read(pattern):
    check_cost(pattern)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(
    ("file", "text", "code", "words"),
    [
        ("adapter_model.safetensors", POINTER, "lfs-pointer", "git lfs"),
        ("adapter_config.json", '{"lora_parameters": {}, "rank": 8}', "not-lora", "MLX"),
        ("adapter_config.json", "[" * 100_000, "damaged-file", "damaged"),
        ("adapter_config.json", '{"a":' * 100_000, "damaged-file", "damaged"),
        ("adapter_config.json", "[]", "damaged-file", "no object"),
        ("adapter_config.json", "", "damaged-file", "damaged"),
    ],
)
def test_what_is_no_adapter_is_said(file, text, code, words, number, tmp_path):
    saved_pair(tmp_path)
    folder = adapter(tmp_path / "adapter")
    (folder / file).write_text(text)
    said = refusal(calls(folder, tmp_path)[number])
    assert said.code == code
    assert words in f"{said.message} {said.hint}"


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path):
    folder = adapter(tmp_path / "adapter")
    said = refusal(lambda: read_adapter(folder / "adapter_model.safetensors"))
    assert "folder" in said.hint


def test_texts_that_are_not_utf8_are_said(tmp_path, capsys):
    pytest.importorskip("torch")
    base, _ = pair(tmp_path)
    (tmp_path / "t.txt").write_bytes(b"caf\xe9\n")
    status = main(
        ["calibrate", str(base), str(tmp_path / "t.txt"), "-o", str(tmp_path / "g.safetensors")]
    )
    assert status == 1
    assert "UTF-8" in capsys.readouterr().err
