"""Dialogues, and their partners in this process and behind an address."""

import dataclasses
from types import SimpleNamespace

import pytest

from lmlab import LabError
from lmlab.generation.decoding import generate
from lmlab.generation.settings import Sampling
from lmlab.recipe.template import Message, template_named
from lmlab.serve.client import RemotePartner, is_address
from lmlab.serve.dialogue import Dialogue, command, shortened
from lmlab.serve.local import LocalPartner
from lmlab.serve.prompting import prompt_ids
from lmlab.serve.served import template_of

GREEDY = Sampling(temperature=0.0, tokens=12)


@pytest.fixture(scope="module")
def local(served):
    """`local(template)`: the partner in this process; the prompts that it reads are in `.prompts`."""

    def made(template):
        prompts = []

        def complete(asked, sampling, **hooks):
            prompts.extend(asked)
            return generate(served.model, served.tokenizer, asked, sampling, **hooks)

        run = SimpleNamespace(name="tiny")
        loaded = SimpleNamespace(run=run, step=7, model=served.model, tokenizer=served.tokenizer, complete=complete)
        partner = LocalPartner(loaded, template)
        partner.prompts = prompts
        return partner

    return made


def ask(partner, *contents, sampling=GREEDY, system=""):
    """The answer to the last of the contents of turns, and its pieces."""
    turns = [Message(role=("user", "assistant")[number % 2], content=text) for number, text in enumerate(contents)]
    pieces = []
    messages = ([Message(role="system", content=system)] if system else []) + turns
    return partner.answer(messages, sampling, pieces.append, lambda: False), pieces


def test_a_dialogue_keeps_its_turns_and_a_retry_takes_the_next_seed():
    begun = Dialogue(sampling=Sampling(seed=5)).said("a").answered("b").said("c").answered("d")
    assert [turn.content for turn in begun.messages()] == ["a", "b", "c", "d"]
    again = begun.retried()
    assert [turn.content for turn in again.messages()] == ["a", "b", "c"]
    assert (again.next_sampling().seed, again.answered("e").retried().next_sampling().seed) == (6, 7)
    assert again.answered("e").said("f").next_sampling().seed == 5
    with pytest.raises(LabError, match="no answer"):
        Dialogue(sampling=Sampling()).retried()


def test_commands_change_what_they_name_and_nothing_else():
    begun = Dialogue(sampling=Sampling()).said("a").answered("b")
    hot, said = command(begun, "/temperature 1.5", True)
    assert hot == dataclasses.replace(begun, sampling=Sampling(temperature=1.5)) and "1.5" in said
    briefed, _ = command(hot, "/system  Be brief. ", True)
    assert briefed.messages()[0] == Message(role="system", content="Be brief.")
    assert command(briefed, "/reset", True)[0] == dataclasses.replace(briefed, turns=())
    assert command(briefed, "/system", True)[0].system == ""
    for line in ("/temperature -1", "/temperature", "/temperature nan", "/nothing"):
        with pytest.raises(LabError):
            command(begun, line, True)


def test_the_oldest_turns_go_first_and_the_last_message_stays():
    system, turns = Message(role="system", content="s"), [Message(role="user", content=text) for text in "abcde"]
    assert shortened([system, *turns]) == [system, *turns[2:]]
    assert shortened([system, turns[0]]) is None


def test_a_tuned_model_reads_its_template_s_prompt_and_stops_at_the_next_turn(local, served, texts):
    partner = local(template_named("plain"))
    answer, pieces = ask(partner, "Hi", "Yes?", "né", system="S")
    end = served.tokenizer.end_of_text
    given, next_given = "S\n\nUser: Hi\nAssistant: ", "\nUser: né\nAssistant: "
    ids = [*served.encode(given), *served.encode("Yes?"), end, *served.encode(next_given)]
    assert partner.prompts == [ids]
    assert answer.text == "".join(pieces) == texts([ids], temperature=0.0, tokens=12, stop=("User:",))[0]
    assert answer.tokens and answer.first_seconds <= answer.seconds and partner.takes_system


def test_turns_that_don_t_fit_the_context_with_the_answer_are_left_out(local, served):
    partner = local(template_named("plain"))
    ask(partner, "x" * 80, "y" * 40, "z" * 40, sampling=Sampling(temperature=0.0, tokens=60))
    assert partner.prompts == [served.encode("User: " + "z" * 40 + "\nAssistant: ")]


def test_a_conversation_s_tokens_are_its_parts_encoded_apart(served):
    turns = [
        Message(role=("user", "assistant")[number % 2], content=text) for number, text in enumerate(("a", "b", "c"))
    ]
    end = [served.tokenizer.end_of_text]
    for name, ends in (("chatml", []), ("alpaca", end)):
        template = template_named(name)
        before, after = template.prompt(turns[:1]), template.prompt(turns)
        answer = f"b{template.assistant[1]}"
        rest = after.removeprefix(before + answer)
        assert prompt_ids(served.tokenizer, template, turns) == [
            *served.encode(before),
            *served.encode(answer),
            *ends,
            *served.encode(rest),
        ]


def test_a_run_s_own_template_counts_and_another_is_refused():
    plain = template_named("plain")
    tuned, base = (SimpleNamespace(name="r", template=lambda found=found: found) for found in (plain, None))
    assert template_of(tuned) is template_of(tuned, "plain") is template_of(base, "plain") is plain
    assert template_of(base) is None
    with pytest.raises(LabError, match="tuned with the template plain"):
        template_of(tuned, "alpaca")
    with pytest.raises(LabError, match="alpaca, chatml"):
        template_of(base, "none")


@pytest.mark.parametrize("tuned", [True, False])
def test_a_model_behind_an_address_answers_as_the_one_in_this_process(serving, served, local, tuned):
    template = served.template if tuned else None
    with serving(dataclasses.replace(served, template=template)) as client:
        for address in (str(client.base_url), f"{client.base_url}/v1/"):
            partner = RemotePartner(address)
            assert partner.takes_system == tuned and "tiny" in partner.about
            turns = ("Hi", "Yes?", "né")
            (here, _), (there, pieces) = ask(local(template), *turns), ask(partner, *turns)
            assert there.text == "".join(pieces) == here.text
            assert there.tokens == here.tokens
        # Too long for the context with all of its turns.
        assert ask(partner, "x" * 150, "y" * 40, "z" * 40)[0].tokens


def test_an_answer_behind_an_address_can_be_stopped(client):
    partner, pieces = RemotePartner(str(client.base_url)), []
    messages = [Message(role="user", content="Hi")]
    answer = partner.answer(messages, Sampling(tokens=4000), pieces.append, lambda: len(pieces) >= 3)
    assert answer.text == "".join(pieces) and len(pieces) == 3


def test_a_server_s_refusal_is_a_line_that_says_what_to_do(serving, served, monkeypatch):
    token = "a-token-of-the-test-1"
    with serving(served, token=token) as client:
        for name in ("OPENAI_API_KEY", "LMLAB_SERVE_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(LabError, match="401.*LMLAB_SERVE_TOKEN"):
            RemotePartner(str(client.base_url))
        monkeypatch.setenv("LMLAB_SERVE_TOKEN", token)
        assert ask(RemotePartner(str(client.base_url), "tiny"), "Hi")[0].tokens
        with pytest.raises(LabError, match="no model other: choose one with --model, of tiny"):
            RemotePartner(str(client.base_url), "other")
        with pytest.raises(LabError, match="400: .*'a'|max_tokens"):
            ask(RemotePartner(str(client.base_url)), "Hi", sampling=Sampling(tokens=10**6))


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://", "http://[::1/v1"])
def test_an_address_without_a_server_is_an_error_in_one_line(address):
    assert is_address(address) and not is_address("my-run")
    with pytest.raises(LabError, match="can't be asked"):
        RemotePartner(address)
