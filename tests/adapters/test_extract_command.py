"""`eckart extract`: what it prints, how it ends, and what it leaves behind."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapters.checkpoints import LAYERS, pair, tensors, write
from eckart import checkpoints
from eckart.adapters import extract_adapter
from eckart.adapters.cut_extraction import extract_again
from eckart.adapters.layer_runner import LayerRunner
from eckart.adapters.settings import LayerRanks
from eckart.adapters.verify import verify_adapter
from eckart.checkpoints.peft import read_adapter
from eckart.errors import StorageError
from eckart.files.outputs import MARKER
from tolerances import ADAPTER_ERROR, agree

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


@pytest.fixture
def models(tmp_path):
    pair(tmp_path)
    return tmp_path


def left(folder: Path) -> list[str]:
    """What lies beside the models."""
    known = {"base", "tuned", "article.csv", "article_start.npz"}
    return sorted(path.name for path in folder.iterdir() if path.name not in known)


def test_it_writes_an_adapter_and_says_how_close_it_is(run, models):
    status, out, err = run("extract base tuned --rank 4 -o small")
    assert status == 0
    assert "layers with factors" in out
    assert "The adapter takes in" in out
    assert err == "Wrote small\n"
    assert left(models) == ["small"]
    assert sorted(path.name for path in (models / "small").iterdir()) == sorted(
        [MARKER, *ADAPTER, "README.md", "report.html", "report.json"]
    )


def test_json_is_one_document(run, models):
    status, out, _ = run("extract base tuned --tolerance 0.3 -o small --json --quiet")
    document = json.loads(out)
    assert status == 0
    assert document["command"] == "extract"
    assert len(document["result"]["tensors"]) == len(LAYERS) + 1


def test_a_plan_begins_nothing(run, models):
    status, out, _ = run("extract base tuned --budget 20kB --plan")
    assert status == 0
    assert "at most" in out
    assert left(models) == []


def test_every_option_of_the_ranks_is_understood(run, models):
    line = "extract base tuned --ratio 0.3 --relative --rank-of '*k_proj=2' --min-rank 1 "
    line += "--max-rank 9 --multiple 2 --include '*layers*' --dtype float16 --base-name org/name "
    status, _, _ = run(line + "--seed 3 -o small --quiet --threads 1")
    config = json.loads((models / "small" / ADAPTER[0]).read_text())
    assert status == 0
    assert config["base_model_name_or_path"] == "org/name"
    assert set(config["rank_pattern"].values()) <= {2, 4, 6, 8, 9}


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        ("extract base tuned --rank 4", 2, "no-output"),
        ("extract base tuned -o out", 2, "rank-not-chosen"),
        ("extract base tuned --rank 4 --budget 1MB -o out", 2, "rank-chosen-twice"),
        ("extract base tuned --rank few -o out", 2, "rank-not-whole"),
        ("extract base tuned --rank 4 --rank-of q_proj -o out", 2, "bad-override"),
        ("extract base base --rank 4 -o out", 2, "same-checkpoint"),
        ("extract base nowhere --rank 4 -o out", 2, "no-such-file"),
        ("extract base tuned --rank 4 -o base", 2, "output-exists"),
        ("extract base tuned --rank 4 -o no/such/out", 2, "no-such-folder"),
        ("extract base empty --rank 4 -o out", 1, "no-weights"),
        ("extract base other --rank 4 -o out", 1, "nothing-matches"),
        ("extract base copy --rank 4 -o out", 1, "nothing-changed"),
        ("extract base nan --rank 4 -o out", 1, "not-finite"),
        ("extract base short --rank 4 -o out", 1, "damaged-file"),
        ("extract base claims --rank 4 -o out", 1, "damaged-file"),
        ("extract base outside --rank 4 -o out", 1, "unsafe-index"),
        ("extract base missing --rank 4 -o out", 1, "missing-shard"),
        ("extract base twice --rank 4 -o out", 1, "duplicate-tensor"),
        ("extract base quantised --rank 4 -o out", 1, "quantised"),
        ("extract swapped tuned --rank 4 -o out", 1, "wrong-way-round"),
    ],
)
def test_what_cannot_be_extracted_gets_one_sentence_and_leaves_nothing(
    run, models, line, status, code
):
    make_broken(models)
    before = left(models)
    got, out, _ = run(f"{line} --json")
    error = json.loads(out)["error"]
    assert (got, error["code"]) == (status, code)
    assert error["message"].count(". ") == 0
    assert error["hint"]
    assert left(models) == before


def make_broken(folder: Path) -> None:
    """Every kind of checkpoint that something is wrong with."""
    weights = tensors()
    (folder / "empty").mkdir()
    write(folder / "other", {"a.weight": np.ones((3, 3), np.float32)})
    write(folder / "copy", weights)
    spoilt = {**weights, "model.norm.weight": np.full(40, np.nan, np.float32)}
    write(folder / "nan", spoilt)
    for name in ("short", "claims"):
        write(folder / name, weights)
    file = folder / "short" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}})
    huge = struct.pack("<Q", len(header)) + header.encode()
    (folder / "claims" / "model.safetensors").write_bytes(huge)
    for name, target in (("outside", "../../etc/passwd"), ("missing", "model-2.safetensors")):
        (folder / name).mkdir()
        save_file(weights, folder / name / "model-1.safetensors")
        index = {"weight_map": dict.fromkeys(weights, "model-1.safetensors") | {"more": target}}
        (folder / name / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "twice").mkdir()
    for number in (1, 2):
        save_file(weights, folder / "twice" / f"model-{number}.safetensors")
    write(folder / "quantised", weights, quantization_config={"quant_method": "gptq"})
    write(folder / "swapped", weights, _name_or_path="someone/tuned")


def test_a_full_disk_is_said_and_the_work_can_go_on(models, monkeypatch):
    whole = extract_adapter(models / "base", models / "tuned", models / "whole", budget=20_000)
    writes = [0]
    original = LayerRunner.factors

    def failing(self, finding):
        writes[0] += 1
        if writes[0] == 5:
            raise StorageError(
                "Cannot write: the disk is full.", hint="Free some.", code="disk-full"
            )
        return original(self, finding)

    monkeypatch.setattr(LayerRunner, "factors", failing)
    with pytest.raises(StorageError):
        extract_adapter(models / "base", models / "tuned", models / "out", budget=20_000)
    assert left(models) == ["out.unfinished", "whole"]
    monkeypatch.undo()
    again = extract_adapter(
        models / "base", models / "tuned", models / "out", budget=20_000, resume=True
    )
    assert again.relative_error == whole.relative_error
    for name in ADAPTER:
        assert (models / "out" / name).read_bytes() == (models / "whole" / name).read_bytes()
    assert left(models) == ["out", "whole"]


@pytest.mark.parametrize("settings", [{"rank": 5}, {"budget": 30_000}, {"tolerance": 0.2}])
def test_an_interrupted_run_goes_on_to_the_same_bytes(models, settings):
    extract_adapter(models / "base", models / "tuned", models / "whole", **settings)
    for stop in (1, 4, 9, 13):
        seen = []

        def interrupt(name, _entries, stop=stop, seen=seen):
            seen.append(name)
            if len(seen) == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            extract_adapter(
                models / "base", models / "tuned", models / "out", on_tensor=interrupt, **settings
            )
        assert left(models) == ["out.unfinished", "whole"]
        extract_adapter(models / "base", models / "tuned", models / "out", resume=True, **settings)
        for name in ADAPTER:
            assert (models / "out" / name).read_bytes() == (models / "whole" / name).read_bytes()
        for path in (models / "out").iterdir():
            path.unlink()
        (models / "out").rmdir()


def test_another_job_is_not_gone_on_with(run, models, monkeypatch):
    def interrupt(_name, _entries):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_adapter(
            models / "base", models / "tuned", models / "out", rank=5, on_tensor=interrupt
        )
    assert run("extract base tuned --rank 5 -o out --json")[0] == 2
    for line in ("--rank 6 -o out", "--rank 5 --seed 1 -o out", "--rank 5 --dtype float16 -o out"):
        status, out, _ = run(f"extract base tuned {line} --resume --json")
        assert (status, json.loads(out)["error"]["code"]) == (2, "another-job")
    other = tensors(seed=5)
    write(models / "tuned", other)
    status, out, _ = run("extract base tuned --rank 5 -o out --resume --json")
    assert (status, json.loads(out)["error"]["code"]) == (2, "another-job")
    assert run("extract base tuned --rank 5 -o out --force --quiet")[0] == 0
    assert left(models) == ["out"]


def test_only_two_pairs_are_in_memory(models, monkeypatch):
    """Reading is counted: the next pair is read while one is factored, and no more."""
    reads = []
    original = checkpoints.Checkpoint.read
    monkeypatch.setattr(
        checkpoints.Checkpoint,
        "read",
        lambda self, name: reads.append(name) or original(self, name),
    )
    done = []

    def count(_name, _entries):
        done.append(len(reads))

    extract_adapter(models / "base", models / "tuned", models / "out", rank=3, on_tensor=count)
    assert all(seen <= 2 * (number + 2) for number, seen in enumerate(done))


def test_again_cuts_an_adapter_without_the_models(run, models):
    assert run("extract base tuned --rank 12 -o large --quiet")[0] == 0
    for rule, name in (("--rank 3", "a"), ("--budget 15kB", "b"), ("--tolerance 0.4", "c")):
        status, out, _ = run(f"extract --again large {rule} -o {name} --json")
        assert status == 0
        found = json.loads(out)["result"]
        direct = extract_adapter(
            models / "base", models / "tuned", models / f"{name}2",
            **{"rank": 3} if name == "a" else {"budget": 15_000} if name == "b" else
            {"tolerance": 0.4},
        )  # fmt: skip
        expected = {one.pair.module: one.figures for one in direct.layers}
        layers = {one["name"]: one for one in found["tensors"] if one.get("rank")}
        assert layers.keys() == expected.keys()
        for module, one in layers.items():
            assert one["rank"] == expected[module].rank
            assert agree(one["relative_error"], expected[module].relative_error, ADAPTER_ERROR)
            assert one["best_possible_error"] <= one["relative_error"]
        assert agree(found["relative_error"], direct.relative_error, ADAPTER_ERROR)
        assert found["bytes"] == direct.nbytes
        stored = {layer.module: layer.rank for layer in read_adapter(models / name).layers}
        assert stored == {module: one["rank"] for module, one in layers.items()}


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        ("extract --again base --rank 2 -o out", 1, "no-report"),
        ("extract base tuned --again base --rank 2 -o out", 2, "bad-usage"),
        ("extract base --rank 2 -o out", 2, "bad-usage"),
        ("extract --again small --rank noise -o out", 2, "needs-models"),
        ("extract --again small --rank 2 --plan", 2, "option-does-not-apply"),
        ("extract --again small --tolerance 0.01 -o out", 2, "needs-models"),
    ],
)
def test_again_says_what_it_cannot_do(run, models, line, status, code):
    run("extract base tuned --rank 4 -o small --quiet")
    got, out, _ = run(f"{line} --json")
    assert (got, json.loads(out)["error"]["code"]) == (status, code)
    assert not (models / "out").exists()


def test_a_layer_that_is_left_out_again_takes_its_bias_along(tmp_path):
    generator = np.random.default_rng(0)
    base = {f"layer.{n}.weight": generator.standard_normal((9, 8)).astype(np.float32) for n in "ab"}
    base |= {f"layer.{n}.bias": generator.standard_normal(9).astype(np.float32) for n in "ab"}
    tuned = {name: 1.25 * one for name, one in base.items()}
    for name, values in (("base", base), ("tuned", tuned)):
        (tmp_path / name).mkdir()
        save_file(values, tmp_path / name / "model.safetensors")
    extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "a", rank=4, check=False)
    states = [
        one["state"] for one in json.loads((tmp_path / "a" / "report.json").read_text())["tensors"]
    ]
    assert sorted(states) == ["bias", "bias", "factors", "factors"]
    ranks = LayerRanks(rank=2, overrides={"layer.a": 0})
    document = extract_again(tmp_path / "a", tmp_path / "b", ranks)
    known = {layer.module: layer.bias is not None for layer in read_adapter(tmp_path / "b").layers}
    assert known == {"layer.b": True}
    found = {one["name"]: one["state"] for one in document["tensors"]}
    assert found["layer.a.bias"] == found["layer.a"] == "left out"
    verified = verify_adapter(tmp_path / "b", tmp_path / "base", tmp_path / "tuned")
    assert agree(document["relative_error"], verified.relative_error, ADAPTER_ERROR)
