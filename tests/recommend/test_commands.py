"""`eckart recommend`: from a table to lists, and every way to get it wrong."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from commandline import ROOT, Run, error, result
from eckart.cli.main import main
from eckart.recommend.commands import COMMANDS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recommend")
    source = ROOT / "examples" / "ratings.csv"
    words = f"recommend fit {source} --rank 2 --regularization 0.07 -o {folder / 'model'} --quiet"
    assert main(words.split()) == 0
    return folder / "model"


@pytest.fixture
def shop(run: Run, made) -> Run:
    """The examples and a model of them."""
    for name in ("ratings.csv", "dishes.csv", "guests.csv"):
        shutil.copy(ROOT / "examples" / name, name)
    shutil.copytree(made, "model")
    return run


def test_fit_measures_against_what_has_to_be_beaten_and_writes_a_report(shop):
    line = (
        "recommend fit ratings.csv --rank 2 --test random -o m --report m.html --names dishes.csv"
    )
    status, out, err = shop(line)
    assert status == 0
    assert "averages" in out
    assert "Wrote m.html" in err
    page = Path("m.html").read_text("utf-8")
    assert "honey waffles" in page
    assert "users who dealt with an item" in page
    document = json.loads(Path("m/model.json").read_text("utf-8"))
    assert document["version"] == 1


def test_fit_gives_every_figure_as_json(shop):
    document = result(shop, "recommend fit ratings.csv --rank 2 --test users -k 5 -o m --json")
    figures = document["evaluation"]["figures"]
    assert set(figures) == {"model", "averages", "most popular"}
    assert {"rmse", "mae", "recall", "precision", "ndcg", "map", "mrr", "coverage"} == set(
        figures["model"]
    )
    assert document["choice"]["regularization"] == document["objective"]["regularization"]
    assert document["folder"] == "m"


def test_the_model_is_named_after_the_table(shop):
    shop("recommend fit ratings.csv --rank 2 --regularization 0.1")
    assert Path("ratings.model/model.json").is_file()


def test_a_zero_is_a_number_that_was_given(shop):
    line = "recommend fit ratings.csv --rank 2 --regularization 0.1 --count-exponent 0 -o m --json"
    assert result(shop, line)["objective"]["count_exponent"] == 0


def test_high_ratings_as_interactions(shop):
    document = result(shop, "recommend fit ratings.csv --min-rating 4 --rank 2 -o m --json")
    assert document["explicit"] is False
    assert document["objective"]["unobserved_weight"] == 0.1


def test_low_ratings_as_dislikes(shop):
    line = "recommend fit ratings.csv --min-rating 4 --disliked 2 --rank 2 -o m"
    document = result(shop, line + " --regularization 0.1 --json")
    assert (document["explicit"], document["interactions"]) == (False, 236)
    assert document["disliked"] == 106
    _, out, _ = shop(line + " --force")
    assert "of them dislikes" in out
    Path("new.csv").write_text("user,item,rating\nzoe,103,5\nzoe,101,1\nzoe,100,3\n")
    assert result(shop, "recommend add m new.csv --json")["interactions"] == 2


def test_top_shows_titles(shop):
    document = result(shop, "recommend top model --user ada -k 3 --names dishes.csv --json")
    (own,) = document["users"]
    assert own["user"] == "ada"
    assert [set(line) for line in own["items"]] == [{"item", "score", "title"}] * 3
    _, out, _ = shop("recommend top model --user ada -k 3 --names dishes.csv")
    assert own["items"][0]["title"] in out


def test_top_of_somebody_unknown_is_popular_and_says_so(shop):
    status, _, err = shop("recommend top model --user nobody")
    assert status == 0
    assert "Nothing is known of user nobody" in err


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_top_of_all_is_a_table(shop, suffix):
    document = result(shop, f"recommend top model --all -k 2 -o all{suffix} --json")
    assert (document["users"], document["lines"]) == (34, 68)
    if suffix == ".parquet":
        table = pq.read_table("all.parquet")
        assert table.column_names == ["user", "item", "place", "score", "popular"]
        assert table.column("place").to_pylist()[:2] == [1, 2]


def test_top_of_a_file_of_users_names_the_unknown_ones(shop):
    Path("who.csv").write_text("user\nada\nnobody\n")
    document = result(shop, "recommend top model --users who.csv -k 2 -o who.parquet --json")
    assert document["popular"] == 1
    assert pq.read_table("who.parquet").column("user").to_pylist() == ["ada"] * 2 + ["nobody"] * 2


def test_top_with_only_and_without(shop):
    line = "recommend top model --user ada --seen --only 100,101,102 --without 101 --json"
    items = result(shop, line)["users"][0]["items"]
    assert {one["item"] for one in items} == {100, 102}


def test_similar_and_explain(shop):
    similar = result(shop, "recommend similar model --item 100 -k 3 --json")
    assert len(similar["items"]) == 3
    found = result(shop, "recommend explain model --user ada --item 103 --json")
    total = found["base"] + sum(one["adds"] for one in found["reasons"])
    assert total == pytest.approx(found["score"])
    status, out, _ = shop("recommend explain model --user ada --item 103 -k 3 --names dishes.csv")
    assert status == 0
    assert "others" in out


def test_predict_measures_where_there_are_ratings(shop):
    Path("pairs.csv").write_text("user,item,rating\nada,103,3\nada,999,2\nzoe,103,5\n")
    document = result(shop, "recommend predict model pairs.csv --clip -o out.csv --json")
    assert (document["unknown_users"], document["unknown_items"]) == (1, 1)
    assert document["rmse"] > 0
    assert document["mae"] > 0
    assert Path("out.csv").read_text().startswith('"user","item","predicted","rating"')


def test_add_and_remove_replace_the_model_whole(shop):
    Path("new.csv").write_text("user,item,rating\nzoe,103,5\nzoe,101,5\nada,999,4\n")
    document = result(shop, "recommend add model new.csv --json")
    assert (document["new_users"], document["new_items"]) == (1, 1)
    assert not result(shop, "recommend top model --user zoe --json")["users"][0]["popular"]
    assert result(shop, "recommend remove model --user zoe --json")["interactions"] == 2
    assert result(shop, "recommend top model --user zoe --json")["users"][0]["popular"]
    assert [path.name for path in Path().glob(".*partial*")] == []


def test_a_refit_of_an_older_model_needs_no_table(shop):
    document = result(shop, "recommend fit --from model -o again --json")
    assert document["interactions"] == 418
    assert document["objective"]["regularization"] == 0.07


def test_export(shop):
    document = result(shop, "recommend export model -o items.parquet --json")
    assert (document["vectors"], document["width"]) == (24, 3)


ATTRIBUTES = "--user-attributes guests.csv --item-attributes dishes.csv"


@pytest.mark.parametrize("kind", ["", " --min-rating 4"], ids=["ratings", "clicks"])
def test_attributes_are_counted_stored_and_answer_for_who_did_nothing(shop, kind):
    line = f"recommend fit ratings.csv {ATTRIBUTES} --rank 4 --regularization 0.1{kind} -o m"
    document = result(shop, line + " --report m.html --json")
    users, items = (document["attributes"][side] for side in ("users", "items"))
    assert (users["columns"], users["width"], users["known"]) == (["likes", "vegetarian"], 5, 36)
    assert (items["columns"], items["width"], items["known"]) == (["tags"], 7, 26)
    assert users["without_interactions"] >= 2
    assert "attributes of users" in Path("m.html").read_text("utf-8")
    (found,) = result(shop, "recommend top m --user quentin -k 3 --json")["users"]
    assert not found["popular"]
    assert all(one["item"] < 108 or one["item"] == 124 for one in found["items"])
    Path("pairs.csv").write_text("user,item\nquentin,124\nquentin,125\n")
    predicted = result(shop, "recommend predict m pairs.csv --json")
    assert (predicted["unknown_users"], predicted["unknown_items"]) == (0, 0)
    sweet, meat = (one["predicted"] for one in predicted["predictions"])
    assert sweet > meat
    status, out, _ = shop("recommend explain m --user quentin --item 124")
    assert status == 0
    assert "attributes" in out


def test_attributes_are_added_and_their_users_known(shop):
    shop(f"recommend fit ratings.csv {ATTRIBUTES} --rank 4 --regularization 0.1 -o m")
    Path("new.csv").write_text("user,likes,vegetarian\nnew,light,yes\nada,meat,no\n")
    document = result(shop, "recommend add m --user-attributes new.csv --json")
    assert (document["interactions"], document["new_users"], document["changed_users"]) == (0, 1, 1)
    (found,) = result(shop, "recommend top m --user new -k 3 --json")["users"]
    assert all(one["item"] >= 116 for one in found["items"])
    Path("more.csv").write_text("user,item,rating\nnew,100,5\n")
    document = result(shop, "recommend add m more.csv --user-attributes new.csv --json")
    assert document["interactions"] == 1
    assert (
        result(shop, "recommend fit --from m -o again --json")["attributes"]["users"]["known"] == 37
    )


def test_a_bayesian_model_gives_deviations(shop):
    _, out, _ = shop("recommend fit ratings.csv --bayesian --rank 2 --epochs 20 -o b")
    assert "rank           2" in " ".join(out.splitlines())
    document = result(shop, "recommend predict b ratings.csv --json")
    assert all(one["deviation"] > 0 for one in document["predictions"])
    status, out, _ = shop("recommend predict b ratings.csv --names dishes.csv")
    assert status == 0
    assert "deviation" in out
    assert "title" in out


def test_tuning_says_what_it_chose(shop):
    _, _, err = shop("recommend fit ratings.csv --tune --trials 2 --epochs 3 -o t")
    assert "Tuned in 2 trials" in err


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        ("recommend fit", 2, "missing-argument"),
        ("recommend fit missing.csv", 2, "no-such-file"),
        ("recommend fit ratings.xlsx", 2, "no-such-file"),
        ("recommend fit article_start.npz", 2, "unknown-suffix"),
        ("recommend fit ratings.csv -o model", 2, "output-exists"),
        ("recommend fit ratings.csv --rank 0 -o m", 2, "bad-option"),
        ("recommend fit ratings.csv --regularization -1 -o m", 2, "bad-regularization"),
        ("recommend fit ratings.csv --regularization 0 -o m", 2, "bad-regularization"),
        (
            "recommend fit ratings.csv --implicit --unobserved-weight 0 -o m",
            2,
            "bad-unobserved-weight",
        ),
        ("recommend fit ratings.csv --disliked 2 -o m", 2, "option-does-not-apply"),
        ("recommend fit ratings.csv --min-rating 3 --disliked 3 -o m", 2, "bad-disliked"),
        ("recommend fit ratings.csv --share 2 -o m", 2, "bad-share"),
        ("recommend fit ratings.csv --scale 5 1 -o m", 2, "bad-scale"),
        ("recommend fit ratings.csv --trials 3 -o m", 2, "option-does-not-apply"),
        ("recommend fit ratings.csv --bayesian --tune -o m", 2, "option-does-not-apply"),
        ("recommend fit ratings.csv --scale 1 3 -o m", 1, "bad-rating"),
        ("recommend fit ratings.csv --user who -o m", 1, "no-such-column"),
        ("recommend fit article.csv -o m", 1, "bad-rating"),
        ("recommend top missing --user 1", 2, "no-such-file"),
        ("recommend top . --user 1", 2, "not-a-model"),
        ("recommend top model", 2, "bad-users"),
        ("recommend top model --user ada --all", 2, "bad-users"),
        ("recommend top model --all -o all.xlsx", 2, "unknown-suffix"),
        ("recommend top model --user ada --only 5", 1, "unknown-item"),
        ("recommend similar model --item 5", 1, "unknown-item"),
        ("recommend explain model --user x --item 100", 1, "unknown-user"),
        ("recommend predict model missing.csv", 2, "no-such-file"),
        ("recommend add model missing.csv", 2, "no-such-file"),
        ("recommend remove model --user x", 1, "unknown-user"),
        ("recommend export model -o items.csv", 2, "unknown-suffix"),
        ("recommend fit ratings.csv --user-attributes missing.csv -o m", 2, "no-such-file"),
        ("recommend fit ratings.csv --user-attributes guests.xlsx -o m", 2, "no-such-file"),
        ("recommend fit ratings.csv --user-columns likes -o m", 2, "option-does-not-apply"),
        ("recommend fit ratings.csv --attribute-weight 2 -o m", 2, "option-does-not-apply"),
        (
            f"recommend fit ratings.csv {ATTRIBUTES} --attribute-weight 0 -o m",
            2,
            "bad-weight-of-attributes",
        ),
        (f"recommend fit ratings.csv {ATTRIBUTES} --user-columns age -o m", 1, "no-such-column"),
        (f"recommend fit ratings.csv {ATTRIBUTES} --item-columns title -o m", 1, "bad-attribute"),
        ("recommend fit ratings.csv --user-attributes dishes.csv -o m", 1, "no-such-ids"),
        ("recommend fit ratings.csv --user-attributes ratings.csv -o m", 1, "repeated-id"),
        (f"recommend fit ratings.csv {ATTRIBUTES} --bayesian -o m", 2, "option-does-not-apply"),
        ("recommend add model", 2, "missing-argument"),
        ("recommend add model --user-attributes missing.csv", 2, "no-such-file"),
        ("recommend add model --user-attributes guests.csv", 1, "no-attributes"),
        ("recommend tops model", 2, "unknown-command"),
    ],
)
def test_errors_are_a_sentence_a_hint_and_a_code(shop, line, status, code):
    if "article.csv" in line:
        Path("article.csv").write_text("user,item,rating\na,1,3\nb,2,nan\n")
    assert error(shop, line, status)["code"] == code


def test_json_names_the_command(shop):
    _, out, _ = shop("recommend top missing --user 1 --json")
    assert json.loads(out)["command"] == "recommend top"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run, command):
    status, out, _ = run(f"recommend {command} --help")
    assert status == 0
    assert f"eckart recommend {command} " in out


def test_no_escape_code_of_an_id_reaches_the_terminal(run):
    lines = ["user,item,rating"]
    lines += [f"u{user},\x1b[31mi{item}\x07,{1 + user * item % 5}" for user in range(4)
              for item in range(user, 4)]  # fmt: skip
    Path("r.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    run("recommend fit r.csv --rank 1 --regularization 0.1 -o m")
    for line in ("recommend top m --user u3", "recommend top m --user \x1b[31mnobody",
                 "recommend similar m --item \x1b[31mno"):  # fmt: skip
        _, out, err = run(line)
        assert "\x1b" not in out + err
        assert "\x07" not in out + err
        assert "\\x1b[31m" in out + err


def test_ids_times_and_scales_hold_from_table_to_table(run):
    Path("r.csv").write_text("user,item,rating,time\n1.0,10.0,2,2020-01-01\n1.0,11.0,4,2020-01-01\n"
                             "2.0,10.0,5,2020-01-01\n2.0,12.0,3,2020-01-01\n", "utf-8")  # fmt: skip
    rows = [(1, 10, 1), (3, 12, 5)]
    lines = [{"user": user, "item": item, "rating": rating, "time": 1717200000}
             for user, item, rating in rows]  # fmt: skip
    Path("n.jsonl").write_text("\n".join(json.dumps(one) for one in lines), "utf-8")
    Path("old.csv").write_text("user,item,rating,time\n2,12,5,1.5e9\n", "utf-8")
    run("recommend fit r.csv --rank 1 --regularization 0.1 -o m")
    added = result(run, "recommend add m n.jsonl -o m2 --json")
    assert (added["new_users"], added["new_items"], added["changed_users"]) == (1, 0, 1)
    assert "was 2 to 5 and is now 1 to 5" in " ".join(added["notes"])
    assert "are earlier than" in " ".join(
        result(run, "recommend add m2 old.csv -o m3 --json")["notes"]
    )
    lists = result(run, "recommend top m2 --user 3.0 --json")["users"]
    assert lists[0]["user"] == 3
    assert not lists[0]["popular"]
    again = result(run, "recommend fit n.jsonl --from m --rank 1 --regularization 0.1 -o m4 --json")
    assert (again["users"], again["scale"]) == (3, [1, 5])


def test_deviations_that_are_not_known_are_null_in_lines(run):
    shutil.copy(ROOT / "examples" / "ratings.csv", "ratings.csv")
    run("recommend fit ratings.csv --bayesian --rank 2 --epochs 5 -o b --quiet")
    Path("p.csv").write_text("user,item\nnobody,103\n", "utf-8")
    run("recommend predict b p.csv -o p.jsonl")
    assert json.loads(Path("p.jsonl").read_text("utf-8"), parse_constant=pytest.fail) == {
        "user": "nobody", "item": "103", "predicted": pytest.approx(4, abs=2), "deviation": None,
    }  # fmt: skip
