"""Several models write after the same prompts: runs, a model of transformers, and one behind an address."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.exchange.reference_writer import Asked, ReferenceWriter
from lmlab.experiment.scoring import evaluate
from lmlab.experiment.side_by_side import side_by_side
from lmlab.experiment.start import train
from lmlab.generation.settings import Sampling
from lmlab.recipe import Recipe, override
from lmlab.training.display import Quiet
from tests.exchange.models.made import put_tokenizer, randomised, transformers
from tests.experiment.test_scored_text import SMALL

SAMPLING = Sampling(tokens=5, seed=3)
ASKED = Asked(tokens=5, temperature=1.0, top_p=1.0, seed=3, stop=())


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_text):
    """A folder with two runs."""
    folder = tmp_path_factory.mktemp("writers")
    (folder / "text.txt").write_text(tiny_text, encoding="utf-8")
    for name, seed in (("one", "1"), ("two", "2")):
        recipe = override(Recipe(), {**SMALL, "data.corpus": str(folder / "text.txt"), "train.seed": seed})
        train(recipe, run=name, runs=folder, display=Quiet(), say=lambda line: None)
    return folder


@pytest.fixture
def server():
    """An OpenAI-compatible server that says what it was asked; its `status` can be set."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = f"{asked['model']} heard {asked['messages'][0]['content']}"
            value = {
                "choices": [{"message": {"content": said}, "finish_reason": "stop"}],
                "usage": {"completion_tokens": 4},
            }
            self.server.asked.append((self.path, self.headers.get("Authorization"), asked))
            self.send_response(self.server.status)
            self.end_headers()
            self.wfile.write(json.dumps(value if self.server.value is None else self.server.value).encode())

        def log_message(self, *arguments):
            pass

    made = HTTPServer(("127.0.0.1", 0), Answers)
    made.status, made.value, made.asked = 200, None, []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def address(server):
    return f"http://127.0.0.1:{server.server_port}/v1"


def test_each_run_writes_what_it_writes_alone_and_the_reference_is_asked_for_the_same(place, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    found = side_by_side(["one", "two"], ["The", ""], SAMPLING, runs=place, address=address(server), model="big")
    alone = side_by_side(["two"], ["The", ""], SAMPLING, runs=place)
    assert [writer.name for writer in found.writers] == ["one", "two", "big"]
    assert [one["text"] for one in found.writers[1].samples] == [one["text"] for one in alone.writers[0].samples]
    assert [one["text"] for one in found.writers[2].samples] == ["big heard The", "big heard "]
    path, key, asked = server.asked[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert (asked["max_tokens"], asked["seed"], asked["temperature"]) == (5, 3, 1.0)
    table = found.table()
    assert [column.name for column in table.columns][0] == "prompt" and len(table.rows) == 2
    assert table.rows[1][0] == "(none)" and table.rows[0][3] == "big heard The"


def test_the_verb_prints_a_table_or_json(place, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("The\nAn\n")
    words = ["sample", "one", "two", "--prompts", str(tmp_path / "prompts.txt"), "--runs", str(place), "--tokens", "4"]
    assert main(words) == 0
    out, _ = capsys.readouterr()
    assert "one@4" in out and "two@4" in out and out.count("\n") >= 3
    assert main([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [entry["run"] for entry in value] == ["one", "two"] and value[0]["samples"][1]["prompt"] == "An"


@pytest.mark.parametrize(
    ("status", "value", "said"),
    [
        (401, None, "answered 401 Unauthorized; is OPENAI_API_KEY set"),
        (500, None, "answered 500"),
        (200, {"choices": []}, "gave no chat completion"),
        (200, [], "gave no chat completion"),
        (200, {"choices": [{"message": {"content": 7}}]}, "gave no text"),
    ],
)
def test_a_server_that_fails_is_named_in_one_line(server, status, value, said):
    server.status, server.value = status, value
    with pytest.raises(LabError, match=said) as raised:
        ReferenceWriter(address(server), "big").answers(["x"], ASKED)
    assert "\n" not in str(raised.value)


def test_an_address_without_a_server_or_scheme_is_refused():
    with pytest.raises(LabError, match="is no address"):
        ReferenceWriter("localhost:11434", "")
    with pytest.raises(LabError, match="can't be asked"):
        ReferenceWriter("http://127.0.0.1:9/v1", "").answers(["x"], ASKED)


def test_a_model_of_transformers_is_scored_and_writes_as_the_run_that_it_is_imported_to(place, tmp_path, capsys):
    folder = tmp_path / "theirs"
    config = transformers().GPT2Config(vocab_size=40, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    config.bos_token_id = config.eos_token_id = None
    randomised(transformers().GPT2LMHeadModel(config)).save_pretrained(folder)
    put_tokenizer(folder, 40)
    text = tmp_path / "text.txt"
    text.write_text("".join(map(chr, range(48, 88))) * 30)
    assert main(["import", "model", str(folder), "--run", "imported", "--runs", str(tmp_path)]) == 0
    foreign = evaluate(f"hf:{folder}", on=str(text), runs=tmp_path, device="cpu")
    imported = evaluate("imported", on=str(text), runs=tmp_path, device="cpu")
    assert foreign["tokens"] == imported["tokens"] and foreign["bits_per_byte"] == pytest.approx(
        imported["bits_per_byte"], rel=1e-5
    )
    assert (foreign["run"], foreign["step"]) == (f"hf:{folder}", None)
    assert evaluate(f"hf:{folder}", on=str(text), stride=4, runs=tmp_path)["loss"] != foreign["loss"]
    greedy = Sampling(tokens=20, temperature=0.0)
    both = side_by_side([f"hf:{folder}", "imported"], ["0A", "9"], greedy, runs=tmp_path, device="cpu")
    assert [one["text"] for one in both.writers[0].samples] == [one["text"] for one in both.writers[1].samples]
    with pytest.raises(LabError, match="name a text with --on"):
        evaluate(f"hf:{folder}", runs=tmp_path)
    capsys.readouterr()
    assert main(["sample", f"hf:{folder}", "--prompt", "0A", "--tokens", "3"]) == 0
    assert "prompt" in capsys.readouterr().out


def test_a_folder_that_is_no_model_is_refused_before_transformers_is_needed(tmp_path):
    with pytest.raises(LabError, match="is no model: expected a folder with"):
        evaluate(f"hf:{tmp_path}", on=str(tmp_path))
