"""`eckart reduce`: tables in, scores out, and what happens when something is wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from commandline import error, result
from streams import numbers
from tolerances import SETTLED, SQUARED

NAMES = [f"x{place}" for place in range(20)]


@pytest.fixture
def table(run):
    """A Parquet table with names and a group beside its numbers, in the folder of `run`."""
    frame = pd.DataFrame(numbers(), columns=NAMES)
    frame.insert(0, "who", [f"row {place}" for place in range(len(frame))])
    frame["group"] = np.where(np.arange(len(frame)) % 3, "b", "<i>a</i>")
    frame.to_parquet("t.parquet", index=False)
    return frame


def exact(frame):
    X = frame[NAMES].to_numpy()
    return np.linalg.svd(X - X.mean(axis=0), full_matrices=False)


def scores(path):
    frame = pd.read_parquet(path)
    return frame[[name for name in frame if name.startswith("PC")]].to_numpy()


def test_scores_loadings_and_variances_are_those_of_lapack(run, table):
    document = result(run, "reduce t.parquet --rank 4 --id who -o s.parquet --json")
    U, S, Vt = exact(table)
    np.testing.assert_allclose(document["explained_variance"], S[:4] ** 2 / 499, rtol=SQUARED)
    np.testing.assert_allclose(np.abs(scores("s.parquet")), np.abs(U[:, :4] * S[:4]), atol=SQUARED)
    assert list(pd.read_parquet("s.parquet")["who"]) == list(table["who"])
    loadings = pd.read_parquet("s.loadings.parquet")
    assert list(loadings["column"]) == NAMES
    np.testing.assert_allclose(np.abs(loadings["PC1"]), np.abs(Vt[0]), atol=SQUARED)
    assert any("numbers (group: " in note for note in document["notes"])
    strongest = document["components"][0]["columns"][0]
    assert strongest == NAMES[int(np.abs(Vt[0]).argmax())]


@pytest.mark.parametrize("kind", ["npy", "fortran.npy", "f2.npy", "parquet", "folder", "csv", "tsv",
                                  "zarr", "h5", "h5ad", "sparse.h5ad"])  # fmt: skip
def test_every_kind_of_file_streams_to_the_same_scores(run, table, kind):
    path = write(kind, table)
    document = result(run, f"reduce {path} --rank 3 --memory 1MB -o s.parquet --json")
    U, S, _ = exact(table)
    tolerance = SQUARED if kind != "f2.npy" else 0.02  # two bytes hold three digits
    np.testing.assert_allclose(
        np.abs(scores("s.parquet")), np.abs(U[:, :3] * S[:3]), atol=tolerance
    )
    assert document["streamed"] is True
    assert document["passes"] == (3 if kind in ("csv", "tsv") else 2)  # text is counted first
    assert document["read_bytes"] > 0


@pytest.mark.parametrize(("power", "most"), [(1.0, 4), (0.5, 6)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_krylov_run_on_a_file_is_within_a_thousandth_in_so_many_passes(run, power, most, seed):
    rank, columns = 20, 300
    generator = np.random.default_rng(7)
    turn = np.linalg.qr(generator.standard_normal((columns, columns)))[0]
    drawn = generator.standard_normal((6000, columns)) * np.arange(1, columns + 1) ** -power
    X = (drawn @ turn + generator.standard_normal(columns) / 10).astype(np.float32)
    np.save("W.npy", X)
    document = result(run, f"reduce W.npy --rank {rank} --memory 2MB --solver krylov --seed {seed} "
                           "-o s.npy --json")  # fmt: skip
    assert document["passes"] <= most  # the means and the scores included
    moved = X - X.mean(axis=0, dtype=np.float64)
    optimum = np.sqrt(np.square(np.linalg.svd(moved, compute_uv=False)[rank:]).sum())
    with np.load("s.model.npz") as file:
        A = file["A"][:rank].astype(np.float64)
    assert np.linalg.norm(moved - moved @ A.T @ A) <= (1 + SETTLED) * optimum
    proof = document["certificate"]
    assert proof["best_possible_error"] <= optimum * (1 + SQUARED)
    assert proof["gap"] <= SETTLED


def write(kind, table):
    X = table[NAMES].to_numpy()
    path = Path(f"data.{kind}")
    if kind.endswith("npy"):
        made = {"npy": X, "fortran.npy": np.asfortranarray(X), "f2.npy": X.astype(np.float16)}[kind]
        np.save(path, made)
    elif kind in ("parquet", "folder"):
        if kind == "parquet":
            table.to_parquet(path, row_group_size=70)
        else:
            path = Path("data")
            path.mkdir()
            for number, start in enumerate(range(0, 500, 200)):
                table[start : start + 200].to_parquet(path / f"part-{number}.parquet")
    elif kind in ("csv", "tsv"):
        table.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    elif kind == "zarr":
        import zarr

        zarr.save_array(path, X)
    else:
        hdf5(path, kind, X)
    return path


def hdf5(path, kind, X):
    import h5py
    import scipy.sparse

    with h5py.File(path, "w") as file:
        if kind != "sparse.h5ad":
            file["X"] = X
            return
        stored, group = scipy.sparse.csr_matrix(X), file.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = "csr_matrix", X.shape
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(stored, name)


def test_new_rows_are_projected_and_come_back(run, table):
    result(run, "reduce t.parquet --rank 20 --id who -o s.parquet --json")
    document = result(run, "reduce t.parquet --model s.model.npz -o again.csv --json")
    assert document["files"] == {"scores": "again.csv"}
    again = pd.read_csv("again.csv").to_numpy()
    np.testing.assert_allclose(again, scores("s.parquet"), atol=SQUARED)
    result(run, "reduce again.csv --model s.model.npz --inverse -o back.parquet --json")
    back = pd.read_parquet("back.parquet")
    np.testing.assert_allclose(back[NAMES].to_numpy(), table[NAMES].to_numpy(), atol=SQUARED)


def test_whitened_scores_of_a_scaled_table_have_variance_one(run, table):
    table["x3"] = 7.0  # a constant column survives
    table.to_parquet("t.parquet", index=False)
    result(run, "reduce t.parquet --rank 4 --scale --whiten -o s.parquet --json")
    np.testing.assert_allclose(scores("s.parquet").std(axis=0, ddof=1), 1.0, rtol=SQUARED)
    assert "x3" in list(pd.read_parquet("s.loadings.parquet")["column"])


def test_the_rank_is_chosen_by_the_share_of_the_variance(run, table):
    document = result(run, "reduce t.parquet --variance 0.9 -o s.parquet --json")
    S = exact(table)[1]
    held = np.cumsum(S**2) / np.sum(S**2)
    assert document["rank"] == int(np.searchsorted(held, 0.9)) + 1
    assert document["cumulative_share"][-1] >= 0.9


def test_more_rows_are_taken_in_and_the_promise_holds(run, table):
    table[:300].to_parquet("first.parquet")
    table[300:].to_parquet("more.parquet")
    result(run, "reduce first.parquet --rank 5 -o s.parquet --json")
    document = result(run, "reduce more.parquet --update s.model.npz -o both.npz --json")
    proof = document["certificate"]
    best = np.sqrt(np.square(exact(table)[1][5:]).sum())
    assert document["rows_behind"] == 500
    assert proof["best_possible_error"] <= best * (1 + SQUARED)
    X = table[NAMES].to_numpy()
    with np.load("both.npz") as file:
        A, means = file["A"][:5], file["means"]
    np.testing.assert_allclose(means, X.mean(axis=0))
    centred = X - means
    assert np.linalg.norm(centred - centred @ A.T @ A) <= proof["error"] * (1 + SQUARED)


def test_the_report_stands_alone_and_escapes_what_the_table_says(run, table):
    status, _, err = run(
        "reduce t.parquet --rank 3 --id who --color group -o s.parquet --report r.html"
    )
    assert status == 0
    assert "Wrote r.html" in err
    page = Path("r.html").read_text("utf-8")
    assert "row 0" in page
    assert "<i>a</i>" not in page
    assert "http://" not in page.split("<body>")[1].replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("reduce t.parquet", "rank-not-chosen"),
        ("reduce t.parquet --rank 2 --variance 0.5", "rank-chosen-twice"),
        ("reduce none.parquet --rank 2", "no-such-file"),
        ("reduce t.parquet --rank 2 -o s.xyz", "unknown-suffix"),
        ("reduce t.parquet --rank 2 --memory lots", "bad-bytes"),
        ("reduce t.parquet --inverse --rank 2", "option-does-not-apply"),
        ("reduce t.parquet --model none.npz", "no-such-file"),
        ("reduce t.parquet --variance 1.5", "bad-variance"),
        ("reduce t.parquet --rank 2 --tol 2", "bad-tol"),
        ("reduce t.parquet --rank 2 -o t.parquet", "output-exists"),
        ("reduce article_start.npz --rank 2 --id who", "option-does-not-apply"),
        ("reduce t.parquet --rank 2 --tensor layers/counts", "option-does-not-apply"),
        ("reduce article.csv --rank 2 --tensor nonsense", "option-does-not-apply"),
    ],
)  # fmt: skip
def test_what_the_arguments_alone_show_is_exit_2(run, table, line, code):
    before = sorted(Path().iterdir())
    assert error(run, line, 2)["code"] == code
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("reduce t.parquet --rank 21", "rank-too-large"),
        ("reduce t.parquet --rank 2 --columns who", "not-numbers"),
        ("reduce t.parquet --rank 2 --id nobody", "no-such-column"),
        ("reduce t.parquet --rank 2 --memory 1kB", "memory-too-small"),
        ("reduce infinite.csv --rank 1", "not-finite"),
        ("reduce infinite.csv --model m.model.npz --columns x0", "no-such-column"),
        ("reduce short.parquet --rank 2", "damaged-file"),
        ("reduce cut.npy --rank 2 --memory 1MB", "damaged-file"),
        ("reduce t.parquet --model article_start.npz", "not-a-reduction"),
        ("reduce article.csv --model m.model.npz", "no-such-column"),
    ],
)  # fmt: skip
def test_what_needs_the_content_is_exit_1_and_nothing_is_written(run, table, line, code):
    Path("infinite.csv").write_text("a,b\n1,2\n3,inf\n5,6\n")
    whole = Path("t.parquet").read_bytes()
    Path("short.parquet").write_bytes(whole[: len(whole) // 2])
    np.save("W.npy", numbers())
    Path("cut.npy").write_bytes(Path("W.npy").read_bytes()[:-4000])
    result(run, "reduce t.parquet --rank 2 -o m.parquet --json")
    before = sorted(Path().iterdir())
    assert error(run, line, 1)["code"] == code
    assert sorted(Path().iterdir()) == before


def test_a_row_group_that_is_damaged_is_one_sentence(run, table):
    whole = bytearray(Path("t.parquet").read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 200] = bytes(200)
    Path("t.parquet").write_bytes(whole)
    got, out, err = run("reduce t.parquet --rank 2 -o s.parquet --json")
    assert got in (0, 1)  # pages without a checksum may hold any numbers
    assert "Traceback" not in out + err
    assert (got == 0) == Path("s.parquet").exists()


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_a_killed_run_leaves_the_old_output_or_the_new_one(run, table, delay):
    result(run, "reduce t.parquet --rank 2 -o s.parquet --json")
    old = Path("s.parquet").read_bytes()
    np.save("W.npy", numbers(60_000, 40))
    words = [sys.executable, "-m", "eckart", "reduce", "W.npy", "--rank", "2", "-o", "s.parquet",
             "--force", "--memory", "4MB", "--quiet"]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    while process.poll() is None and not list(Path().glob(".eckart-*")):
        pass
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    now = Path("s.parquet").read_bytes()
    assert now == old or len(pd.read_parquet("s.parquet")) == 60_000


def test_gaps_are_counted_and_factored_around(run, table):
    holed = table.copy()
    holed.loc[::7, "x3"] = np.nan
    holed.to_csv("gaps.csv", index=False)
    document = result(run, "reduce gaps.csv --rank 4 --id who -o s.csv --json")
    assert document["missing"] == holed["x3"].isna().sum()
    assert document["message"].startswith("72 of 10,000 entries (0.7%) are missing")
    assert np.isfinite(scores_of_csv("s.csv")).all()
    again = result(run, "reduce gaps.csv --model s.model.npz -o again.csv --json")
    assert "72 of 10,000 entries (0.7%) are missing and were factored around." in again["notes"]
    np.testing.assert_array_equal(scores_of_csv("again.csv"), scores_of_csv("s.csv"))
    assert result(run, "reduce gaps.csv --update s.model.npz --json")["missing"] == 144
    cut = pd.read_csv("s.csv")
    cut.loc[3, "PC1"] = np.nan
    cut.to_csv("cut.csv", index=False)
    line = "reduce cut.csv --model s.model.npz --inverse -o back.csv"
    assert error(run, line, 1)["code"] == "not-finite"


def scores_of_csv(path):
    frame = pd.read_csv(path)
    return frame[[name for name in frame if name.startswith("PC")]].to_numpy()


def test_a_line_longer_than_a_block_of_text_is_read(run):
    lines = [f"{row},{row * row % 7},{'x' * (700_000 if row == 30 else 3)}" for row in range(60)]
    Path("t.csv").write_text("\n".join(["a,b,text", *lines]) + "\n")
    result(run, "reduce t.csv --rank 1 --memory 200MB -o s.csv --json")
    assert len(Path("s.csv").read_text().splitlines()) == 61


def test_a_layer_of_an_anndata_is_reduced_where_it_is_named(run, table):
    X = table[NAMES].to_numpy()
    with h5py.File("a.h5ad", "w") as file:
        file["X"], file["layers/counts"] = X, 2 * X
        for part in ("obs", "var"):
            file.create_group(part)
    plain, doubled = (
        result(run, f"reduce a.h5ad --rank 2 -o s.csv --force --json {option}")
        for option in ("", "--tensor layers/counts")
    )
    four_times = 4 * np.array(plain["explained_variance"])
    np.testing.assert_allclose(doubled["explained_variance"], four_times, rtol=SQUARED)
    wrong = error(run, "reduce a.h5ad --rank 2 --tensor nonsense --json -o t.csv", 1)
    assert wrong["code"] == "no-such-tensor"


def test_without_centring_the_figures_are_those_of_the_scores(run, table):
    for option in ("", "--memory 1MB", "--whiten"):
        line = f"reduce t.parquet --rank 3 --no-centre -o n.parquet --force --json {option}"
        document = result(run, line)
        expected = scores("n.parquet").var(axis=0)
        told = np.ones(3) if "whiten" in option else document["explained_variance"]
        np.testing.assert_allclose(told, expected, rtol=SQUARED)
        assert sum(document["explained_share"]) <= 1 + SQUARED
        assert "of the sum of squares" in document["message"]


def test_rows_that_are_all_the_same_have_no_variance_to_hold(run):
    np.save("same.npy", np.ones((4, 3)))
    message = result(run, "reduce same.npy --rank 1 -o s.csv --json")["message"]
    assert message == "All rows are the same, so that nothing is left to be held."
