"""A judge behind an address: calls are kept and continue after a kill, failures are retried, and the key stays secret."""

import pytest

from lmlab import LabError
from lmlab.exchange.chat_completions import require_address
from lmlab.judge.client import Call, Judge, JudgeSettings
from tests.judge.scripted import served

CALLS = [Call(question=f"What is {number}?", reference=str(number), answers=(str(number),)) for number in range(6)]
KEY = "sk-a-secret-key"


def judge(server, folder, **changed):
    settings = JudgeSettings(**{"address": server.address, "model": "m", **changed})
    return Judge(settings=settings, folder=folder, sleep=lambda seconds: None)


def test_each_call_is_sent_once_and_a_second_pass_comes_from_the_cache(tmp_path):
    with served(lambda prompt: '{"score": 5}') as server:
        first = list(judge(server, tmp_path).ask(CALLS))
        assert judge(server, tmp_path).known(CALLS) == 6
        assert list(judge(server, tmp_path).ask(CALLS)) == first and len(server.asked) == 6
        assert first[0].reply.scores == (5.0,) and first[0].prompt_tokens == 300
        list(judge(server, tmp_path, model="other").ask(CALLS[:1]))
        list(judge(server, tmp_path).ask([Call(**{**vars(CALLS[0]), "repeat": 1})]))
        assert len(server.asked) == 8  # another model, and the same answer again, are asked


def test_a_killed_judgement_continues_where_it_was(tmp_path):
    with served(lambda prompt: '{"score": 5}', statuses=[200, 200, 200, 400]) as server:
        with pytest.raises(LabError, match="answered 400 .*the calls so far are kept"):
            list(judge(server, tmp_path, parallel=1).ask(CALLS))
        sent = len(server.asked)
        assert len(list(judge(server, tmp_path).ask(CALLS))) == 6
        assert len(server.asked) - sent <= 3


def test_passing_failures_are_retried_and_others_are_not(tmp_path):
    pauses = []
    with served(lambda prompt: "7", statuses=[503, 429]) as server:
        one = Judge(settings=JudgeSettings(address=server.address, model="m"), folder=tmp_path, sleep=pauses.append)
        assert one.result(CALLS[0]).reply.scores == (7.0,)
        assert len(server.asked) == 3 and pauses == [1.0, 2.0]
        server.statuses += [401]
        with pytest.raises(LabError, match="401 Unauthorized; is OPENAI_API_KEY set"):
            one.result(CALLS[1])
        assert len(server.asked) == 4
        server.statuses += [500] * 9
        with pytest.raises(LabError, match="answered 500"):
            one.result(CALLS[2])
        assert len(server.asked) == 9


def test_the_key_is_sent_to_the_address_alone_and_never_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with served(lambda prompt: f"my key is {KEY}") as server:
        assert judge(server, tmp_path).result(CALLS[0]).text == "my key is [key]"
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
        assert not [path for path in tmp_path.rglob("*.json") if KEY in path.read_text()]
        server.statuses += [307]
        with pytest.raises(LabError, match="307 .*give the address that it redirects to") as raised:
            judge(server, tmp_path).result(CALLS[1])
        assert KEY not in str(raised.value)


def test_a_damaged_file_of_the_cache_is_asked_again(tmp_path):
    with served(lambda prompt: "7") as server:
        judge(server, tmp_path).result(CALLS[0])
        path = next(tmp_path.rglob("*.json"))
        for content in ("{", "[]", '{"format": 1, "text": 3}', '{"format": 1, "text": "x", "prompt_tokens": "many"}'):
            path.write_text(content)
            assert judge(server, tmp_path).result(CALLS[0]).reply.scores == (7.0,)
        assert len(server.asked) == 5


@pytest.mark.parametrize(
    "address", ["localhost:1", "ftp://x/v1", "http://user:pass@x/v1", "http://x/v1?key=1", "http://"]
)
def test_an_address_without_a_scheme_or_with_a_password_is_refused(address):
    with pytest.raises(LabError, match="--judge"):
        require_address(address, "--judge")
