"""`lmlab data` as it is typed."""

import json

import pytest

from lmlab.cli import main
from tests.data.support import write_stories


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def stories(tmp_path):
    write_stories(tmp_path / "stories.txt", 80)
    return str(tmp_path / "stories.txt")


def lmlab(capsys, *words):
    status = main(["data", *words])
    output = capsys.readouterr()
    return status, output.out, output.err


BYTES = ("--data.tokenizer", "bytes")


def test_prepare_describes_and_ends_with_the_folder(capsys, stories, tmp_path):
    status, out, err = lmlab(capsys, "prepare", stories, *BYTES, "--context", "50", "--plot", str(tmp_path / "a.png"))
    assert (status, err) == (0, "")
    assert "80 documents" in out and "cropped at 50 tokens" in out
    *_, picture, folder = out.splitlines()
    assert picture == str(tmp_path / "a.png") and (tmp_path / "a.png").exists()
    assert folder.startswith(str(tmp_path / "cache" / "datasets" / "stories-"))


def test_json_is_all_of_standard_output(capsys, stories):
    status, out, _ = lmlab(capsys, "prepare", stories, *BYTES, "--json")
    found = json.loads(out)
    assert (status, found["name"], found["vocabulary"]) == (0, "stories", 257)
    for name in (found["id"], found["folder"]):
        status, out, _ = lmlab(capsys, "show", name, "--json")
        assert (status, json.loads(out)["id"]) == (0, found["id"])
    status, out, _ = lmlab(capsys, "check", "--json")
    assert [entry["id"] for entry in json.loads(out)["checked"]] == [found["id"]]
    status, out, _ = lmlab(capsys, "show", "--json")
    listed = json.loads(out)
    assert [entry["name"] for entry in listed["catalogue"]] == ["stdlib", "shakespeare", "tinystories", "wikitext-2"]
    assert listed["prepared"][0]["splits"]["train"] == found["train_tokens"]


def test_show_without_a_name_lists_catalogue_and_data_sets(capsys, stories):
    lmlab(capsys, "prepare", stories, *BYTES)
    status, out, _ = lmlab(capsys, "show")
    assert status == 0
    for word in ("stdlib", "shakespeare", "tinystories", "wikitext-2", "CDLA-Sharing-1.0", "stories", "bytes 257"):
        assert word in out


def test_show_of_what_is_not_prepared_says_how_to(capsys, stories):
    status, _, err = lmlab(capsys, "show", stories, *BYTES)
    assert status == 1
    assert err.strip().endswith(f"lmlab data prepare {stories} --data.tokenizer bytes")


def test_check_finds_damage(capsys, stories, tmp_path):
    _, out, _ = lmlab(capsys, "prepare", stories, *BYTES, "--json")
    path = tmp_path / "cache" / "datasets"
    tokens = next(path.glob("*/tokens-train.bin"))
    content = bytearray(tokens.read_bytes())
    content[5] ^= 1
    tokens.write_bytes(content)
    status, _, err = lmlab(capsys, "check", json.loads(out)["id"])
    assert status == 1
    assert "tokens-train.bin is damaged, its SHA-256 changed" in err


def test_a_recipe_s_name_stands_for_its_data(capsys, tmp_path, stories):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'[data]\ncorpus = "{stories}"\ntokenizer = "characters"\n[model]\ncontext = 32\n')
    status, out, err = lmlab(capsys, "prepare", str(recipe), "--json")
    assert status == 0, err
    found = json.loads(out)
    assert (found["tokenizer"]["name"], found["splits"][0]["cropping"]["context"]) == ("characters", 32)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("shw",), 2, "did you mean show?"),
        (("prepare",), 2, "needs a NAME"),
        (("prepare", "x.txt", "--jsn"), 2, "did you mean --json?"),
        (("prepare", "x.txt", "--context", "0"), 2, "expected at least 1"),
        (("prepare", "x.txt", "--train.steps", "5"), 2, "settings of data only"),
        (("show", "--data.tokenizer", "bytes"), 2, "needs a NAME"),
        (("prepare", "x.txt", "--data.tokenizer", "nonsense"), 1, "data.tokenizer can't be 'nonsense'"),
        (("prepare", "nothing-here"), 1, "there is no corpus 'nothing-here' here"),
        (("show", "0" * 16), 1, "there is no data set 0000000000000000"),
        (("extend", "x.txt"), 2, "needs a NAME and a PATH"),
        (("extend", "0" * 16, "x.txt"), 1, "there is no data set 0000000000000000"),
        (("extend", "0" * 16, "x.txt", "--data.tokenizer", "bytes"), 2, "leave out --data.tokenizer"),
    ],
)
def test_wrong_words_are_one_line_on_standard_error(capsys, words, status, message):
    found, out, err = lmlab(capsys, *words)
    assert (found, out) == (status, "")
    assert message in err and err.count("\n") == 1


def test_help_names_the_actions(capsys):
    status, out, _ = lmlab(capsys, "--help")
    assert status == 0
    assert all(word in out for word in ("prepare", "extend", "show", "check"))


def test_extend_says_what_is_new_and_how_to_train_on_it(capsys, stories, tmp_path):
    _, out, _ = lmlab(capsys, "prepare", stories, *BYTES, "--json")
    old = json.loads(out)
    texts = write_stories(tmp_path / "more.txt", 20, first=500)
    again = (tmp_path / "stories.txt").read_text().split("\n<|endoftext|>\n")[5:15]
    (tmp_path / "more.txt").write_text("\n<|endoftext|>\n".join([*texts, *again]))
    status, out, err = lmlab(capsys, "extend", stories, str(tmp_path / "more.txt"), *BYTES)
    assert (status, err) == (0, "")
    assert "20 documents added" in out and "10 were there already" in out
    assert f"extends     {old['id']}" in out
    extended = out.splitlines()[-1].rpartition("-")[2]
    assert f"lmlab train --from RUN --data.corpus {extended} --data.fresh" in out
    status, out, _ = lmlab(capsys, "extend", extended, stories)
    assert status == 0 and "nothing is new" in out and "--data.fresh" not in out
    assert lmlab(capsys, "check", extended)[0] == 0
