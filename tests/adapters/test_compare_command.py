"""`eckart compare-adapters`: what it prints and draws, and the figures of its page."""

import shutil
from pathlib import Path

import pytest

import eckart
from adapters.pairs import extracted
from adapters.samples import layer
from commandline import error, result
from eckart.adapters.compare import compare_adapters
from eckart.adapters.compare_report import comparison_page
from eckart.checkpoints.peft import Adapter, write_adapter
from pages import figures_of, own_markup

LINE = "compare-adapters adapter small --delta base tuned"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = extracted(tmp_path_factory.mktemp("made"))
    eckart.truncate_adapter(folder / "adapter", folder / "small", rank=2)
    return folder


@pytest.fixture
def here(run, made):
    """Run a command in a folder that holds a base, its fine-tune and two adapters."""
    shutil.copytree(made, Path(), dirs_exist_ok=True)
    return run


def test_a_person_sees_layers_and_sentences(here):
    status, out, err = here(LINE)
    assert (status, err) == (0, "")
    words = " ".join(out.split())
    assert "layer ranks difference cosine energy cosines of columns cosines of rows" in words
    assert "small: 100.00 % of its energy is in the spaces of adapter, the cosine is 0." in words
    assert "and no adapter of the same ranks is below 0." in words
    status, out, _ = here("compare-adapters adapter small")
    assert status == 0
    assert "best possible" not in out


def test_a_program_gets_the_figures(here):
    document = result(here, f"{LINE} --json")
    assert document["grade"] == "success"
    assert document["adapters"] == ["adapter", "small"]
    (pair,) = document["pairs"]
    assert [one["ranks"] for one in pair["layers"]] == [[4, 2]] * 4
    assert [len(one["column_cosines"]) for one in pair["layers"]] == [2] * 4
    assert [one["adapter"] for one in document["learnt"]] == ["adapter", "small"]
    assert document["learnt"][0]["relative_error"] < document["learnt"][1]["relative_error"]
    assert document["files"] == {}


def test_one_adapter_beside_the_models_is_enough(here):
    document = result(here, "compare-adapters adapter --delta base tuned --json")
    assert document["pairs"] == []
    assert len(document["learnt"]) == 1


def test_adapters_of_other_models_are_exit_1(here):
    write_adapter(Path("other"), Adapter(layers=[layer("model.layers.9.q_proj", (16, 16))]))
    assert error(here, "compare-adapters adapter other", 1)["code"] == "nothing-matches"
    document = result(here, "compare-adapters other --delta base tuned --json", 1)
    assert document["grade"] == "failed"
    assert document["learnt"][0]["unknown"] == ["model.layers.9.q_proj.weight"]


def test_an_adapter_that_is_no_plain_lora_is_exit_1(here):
    path = Path("small/adapter_config.json")
    path.write_text(path.read_text().replace('"LORA"', '"IA3"'))
    assert error(here, "compare-adapters adapter small", 1)["code"] == "not-lora"


def test_the_report_draws_overlaps_and_errors(here):
    document = result(here, f"{LINE} --report c.html --json")
    assert document["files"] == {"report": "c.html"}
    page = Path("c.html").read_text("utf-8")
    errors, energies = figures_of(page)
    names = [trace["name"] for trace in errors[0]]
    assert names == ["adapter", "best possible for adapter", "small", "best possible for small"]
    best = document["learnt"][1]["layers"]
    assert errors[0][3]["y"] == [one["best_possible_error"] for one in best]
    (trace,) = energies[0]
    assert trace["type"] == "heatmap"
    assert trace["y"] == ["mlp.up_proj", "self_attn.q_proj"]
    assert f"eckart {LINE} --report c.html --json" in own_markup(page)
    assert "http" not in own_markup(page).replace("http-equiv", "")


def test_names_are_text_on_the_page(tmp_path):
    bad = "<img src=x onerror=alert(1)>"
    layers = [layer(f"model.{bad}.layers.{depth}.{bad}q", (6, 5)) for depth in (0, 1)]
    for name in (f"a{bad}", "b"):
        write_adapter(tmp_path / name, Adapter(layers=layers))
    compared = compare_adapters([tmp_path / f"a{bad}", tmp_path / "b"])
    page = comparison_page(compared.to_dict(), bad)
    assert "<img" not in own_markup(page)
    (drawn,) = figures_of(page)
    assert all("<" not in label for label in drawn[0][0]["y"])
