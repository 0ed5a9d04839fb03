"""`lmlab data` as it is typed."""

import json
import zipfile

import pytest

from lmlab.cli import main
from lmlab.data import cache
from tests.data.shard_files import write_folder
from tests.data.support import write_stories


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def stories(tmp_path):
    write_stories(tmp_path / "stories.txt", 80)
    return str(tmp_path / "stories.txt")


def lmlab(capsys, *words):
    status = main(["data", *map(str, words)])
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
    names = [entry["name"] for entry in listed["catalogue"]]
    assert names[:4] == ["stdlib", "shakespeare", "tinystories", "wikitext-2"] and "fineweb-edu-100bt" in names
    assert listed["prepared"][0]["splits"]["train"] == found["train_tokens"]


def test_show_without_a_name_lists_catalogue_and_data_sets(capsys, stories):
    lmlab(capsys, "prepare", stories, *BYTES)
    status, out, _ = lmlab(capsys, "show")
    assert status == 0
    for word in ("stdlib", "shakespeare", "tinystories", "wikitext-2", "CDLA-Sharing-1.0", "stories", "bytes 257"):
        assert word in out


def test_show_of_what_is_not_prepared_describes_the_text_and_says_how_to(capsys, stories, tmp_path):
    status, out, err = lmlab(capsys, "show", stories, *BYTES)
    assert (status, err) == (0, "")
    assert out.strip().endswith(f"lmlab data prepare {stories} --data.tokenizer bytes")
    text = (tmp_path / "stories.txt").read_text(encoding="utf-8")
    assert "documents   80" in out and "tokenizer bytes" in out and f"{len(text.encode()):,} bytes" in out
    found = json.loads(lmlab(capsys, "show", stories, "--json")[1])
    kept = text.replace("<|endoftext|>\n", "").replace("\n<|endoftext|>", "")
    assert found["text"]["words"] == len(kept.replace("<|endoftext|>", "").split())
    assert found["text"]["documents"] == 80 and not found["prepared"]
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'[data]\ncorpus = "{stories}"\n')
    status, _, err = lmlab(capsys, "show", str(recipe))
    assert status == 1 and err.strip().endswith(f"lmlab data prepare {recipe}")


def test_one_name_of_several_data_sets_lists_what_tells_them_apart(capsys, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{word}{end}\n" for word in ("ada", "bo", "cy", "di") for end in range(1000, 1100)))
    made = []
    for words in ([], ["--data.separator", "\\n"], ["--data.separator", "\\n", *BYTES], ["--data.split", "hash"]):
        status, out, _ = lmlab(capsys, "prepare", str(names), *words, "--json")
        made += [json.loads(out)["id"]] if status == 0 else []
    assert len(set(made)) == 3
    status, out, _ = lmlab(capsys, "show", "names")
    assert status == 0 and "names refers to 3 data sets" in out
    lines = out.splitlines()
    row = {identity: next(line for line in lines if identity in line) for identity in made}
    assert "tail 10%" in row[made[0]] and "a line each" in row[made[1]] and "bytes 257" in row[made[2]]
    assert [entry["id"] for entry in json.loads(lmlab(capsys, "show", "names", "--json")[1])["datasets"]] == sorted(
        made
    )
    status, _, err = lmlab(capsys, "rm", "names", "--yes")
    assert status == 1 and all(identity in err for identity in made)
    assert f"{made[0]} (documents: 1; tokenizer: characters " in err
    status, out, _ = lmlab(capsys, "show", str(names))
    assert status == 0 and out.splitlines()[0].startswith("of 3 data sets prepared from") and made[0] in out
    assert "many short lines" in out
    status, _, err = lmlab(capsys, "show", "namse")
    assert status == 1 and "did you mean names?" in err


def test_a_single_data_set_is_found_by_its_name_and_its_file_whatever_its_settings(capsys, stories):
    made = json.loads(lmlab(capsys, "prepare", stories, *BYTES, "--json")[1])["id"]
    for name in ("stories", stories):
        for action in ("show", "check"):
            assert json.loads(lmlab(capsys, action, name, "--json")[1])["id"] == made
    assert lmlab(capsys, "prepare", made)[1].startswith("stories  " + made)
    assert json.loads(lmlab(capsys, "prepare", "stories", "--json")[1])["id"] == made


def test_a_folder_with_a_binary_file_names_it_and_passes_over_it(capsys, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    write_stories(folder / "a.txt", 60)
    (folder / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    note = "1 file (264 bytes) is not UTF-8 text and passed over: logo.png"
    ids = set()
    for corpus in (folder, tmp_path / "packed.zip"):
        assert note in lmlab(capsys, "show", str(corpus))[1]
        status, out, _ = lmlab(capsys, "prepare", str(corpus), *BYTES, "--json")
        found = json.loads(out)
        assert (status, found["notes"], found["corpus"]["skipped_bytes"]) == (0, [note], 264)
        ids.add(found["id"])
    assert len(ids) == 1, "an archive holds the same text"
    (folder / "a.txt").unlink()
    status, _, err = lmlab(capsys, "prepare", str(folder))
    assert status == 1 and "contains no text" in err
    (tmp_path / "latin.txt").write_bytes("caf\xe9 ".encode("latin-1") * 99)
    status, _, err = lmlab(capsys, "prepare", str(tmp_path / "latin.txt"))
    assert status == 1 and "is not UTF-8" in err, "a file that was named itself is never passed over"


def test_line_breaks_of_windows_are_told_and_can_be_read_as_line_feeds(capsys, tmp_path):
    lines = [f"The rain fell on {number} roofs." for number in range(300)]
    for name, end in (("windows", "\r\n"), ("unix", "\n"), ("old-mac", "\r")):
        (tmp_path / f"{name}.txt").write_bytes("".join(line + end for line in lines).encode())
    told = json.loads(lmlab(capsys, "prepare", str(tmp_path / "windows.txt"), "--json")[1])
    assert any("--data.newlines lf" in note for note in told["notes"]) and told["corpus"]["newlines"] == "keep"
    ids = set()
    for name in ("windows", "unix", "old-mac"):
        words = (str(tmp_path / f"{name}.txt"), "--data.newlines", "lf", "--json")
        found = json.loads(lmlab(capsys, "prepare", *words)[1])
        assert not any("newlines" in note for note in found["notes"])
        ids.add(found["id"])
    assert len(ids) == 1 and told["id"] not in ids


def test_check_draws_the_picture_that_it_is_asked_for(capsys, stories, tmp_path):
    picture = tmp_path / "lengths.png"
    status, out, _ = lmlab(capsys, "check", stories, *BYTES, "--plot", picture)
    assert status == 0 and str(picture) in out and picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_or_report_that_cannot_be_written_is_refused_before_the_text_is_read(capsys, stories, tmp_path):
    for words, message in (
        (("prepare", stories, "--plot", tmp_path / "a.nonsense"), "expected a file ending in .png"),
        (("prepare", stories, "--plot", tmp_path / "no" / "a.png"), "there is no folder"),
        (("check", stories, "--out", tmp_path), "can't be written"),
    ):
        status, _, err = lmlab(capsys, *words)
        assert status == 1 and message in err
    assert not (tmp_path / "cache").exists()


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


def test_a_folder_of_shards_with_a_budget(capsys, tmp_path, monkeypatch):
    """Only what the budget needs is prepared, and no file is hashed whole; a larger one says what it continues."""
    write_folder(tmp_path / "shards")
    hashed = []
    real = cache._hash
    monkeypatch.setattr(cache, "_hash", lambda path, progress: hashed.append(path) or real(path, progress))
    settings = (*BYTES, "--data.valid-documents", "50")
    status, out, _ = lmlab(capsys, "prepare", tmp_path / "shards", *settings, "--data.tokens", "5k", "--json")
    small = json.loads(out)
    assert (status, small["train_tokens"], small["split"]["rule"], hashed) == (0, 5_000, "first", [])
    status, out, err = lmlab(capsys, "prepare", tmp_path / "shards", *settings, "--data.tokens", "9k")
    assert "first: the first 50 documents validate" in out
    assert err.startswith("continuing from data set") and "training tokens are copied" in err
    status, out, _ = lmlab(capsys, "show", tmp_path / "shards", "--json")
    assert (status, len(json.loads(out)["datasets"])) == (0, 2)
    status, out, err = lmlab(capsys, "prepare", tmp_path / "shards", *settings, "--data.tokens", "3.3B")
    assert status == 1 and "data.tokens 3,300,000,000 is more than the" in err
