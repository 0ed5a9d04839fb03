"""Findings in a text: planted ones at known places, with secrets masked."""

import unicodedata

import numpy as np
import pytest

from lmlab.data.hygiene import lines as lines_module
from lmlab.data.hygiene import stretches as stretches_module
from lmlab.data.hygiene.characters import SETS, classes, odd_characters
from lmlab.data.hygiene.findings import visible
from lmlab.data.hygiene.lines import fewest_repeats
from lmlab.data.hygiene.secrets import KINDS as SECRETS
from lmlab.data.hygiene.secrets import luhn, masked, secrets
from lmlab.data.hygiene.stretches import Places, cut_before, stretches
from lmlab.data.hygiene.text import KINDS, look_at_text
from lmlab.data.preparation import prepare
from lmlab.data.progress import Silent
from lmlab.recipe import Data
from tests.data.support import Listener

# Made up: drawn once, and of no use anywhere.
DRAWN = "9aF3kQ0zLw71VbXc52RtYp84HsJd06MnGu4e"
PLANTED = {
    "private_key": f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{DRAWN * 2}\n{DRAWN}\n-----END -----",
    "aws_key": "AKIA" + "Q3EGRTWZ7HPLX2NC",
    "github_token": "ghp_" + DRAWN,
    "gitlab_token": "glpat-" + DRAWN[:20],
    "slack_token": "xoxb-" + "123456789012-" + DRAWN[:24],
    "slack_webhook": "hooks.slack.com/services/" + "T0A1B2C3D/B0A1B2C3D/" + DRAWN[:24],
    "google_key": "AIza" + DRAWN[:35],
    "sk_key": "sk-proj-" + DRAWN,
    "stripe_key": "sk_live_" + DRAWN[:24],
    "huggingface_token": "hf_" + DRAWN[:34],
    "npm_token": "npm_" + DRAWN,
    "json_web_token": f"eyJ{DRAWN[:20]}.eyJ{DRAWN}.{DRAWN}",
    "url_password": "://someone:geheim-77@",
    "email": "jane.doe+list@example.org",
    "phone": "(212) 555-0147",
    "card": "4242 4242 4242 4242",
}
HIDDEN = {
    "private_key": DRAWN,
    "url_password": "geheim-77",
    "email": "jane.doe+list",
    "phone": "(212) 555-01",
    "card": "4242 4242 4242 ",
}
CHARACTERS = {
    "control": "\x0c",
    "carriage_return": "\r",
    "zero_width": "\u200b",
    "byte_order_mark": "\ufeff",
    "bidirectional": "\u202e",
    "tag": "\U000e0041",
    "soft_hyphen": "\xad",
    "replacement": "\ufffd",
    "private_use": "\ue123",
    "unassigned": "\U0003fffe",
    "mojibake": "â€œ",
}


def dataset_of(folder, texts, tokenizer="bytes", **settings):
    path = folder / "text.txt"
    path.write_bytes("\n<|endoftext|>\n".join(texts).encode())
    settings = {"split": "tail", "valid_share": 0.5, **settings}
    return prepare(Data(corpus=str(path), tokenizer=tokenizer, **settings), folder / ".cache")


def findings(dataset, split):
    return {one["kind"]: one for one in look_at_text(dataset, split, Silent())["findings"]}


@pytest.fixture(params=[64, 1 << 18])
def portions(request, monkeypatch):
    """Everything is found in small portions too."""
    monkeypatch.setattr(stretches_module, "TOKENS_A_TIME", request.param)


@pytest.mark.parametrize("kind", CHARACTERS)
def test_a_planted_character_is_found_at_its_byte(tmp_path, portions, kind):
    character = CHARACTERS[kind]
    texts = ["Ordinary words – nothing else. " * 4, f"über {'a' * 90}{character}b{character}.", "The rest. " * 40]
    found = findings(dataset_of(tmp_path, texts), "train")
    assert set(found) == {kind}
    at = len(texts[1][: texts[1].index(character)].encode())
    assert (found[kind]["count"], found[kind]["documents"]) == (2, 1)
    places = [(one["document"], one["offset"], one["split_offset"]) for one in found[kind]["examples"]]
    size, before = len(character.encode()) + 1, len(texts[0].encode())
    assert places == [(1, at, before + at), (1, at + size, before + at + size)]
    assert found[kind]["examples"][0]["source"] == "text.txt"
    if kind != "mojibake":
        assert found[kind]["examples"][0]["note"] == f"U+{ord(character):04X}"
        assert character not in found[kind]["examples"][0]["excerpt"] or character.isprintable()


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_secret_is_found_at_its_byte_and_never_shown(tmp_path, kind):
    secret, hidden = PLANTED[kind], HIDDEN.get(kind, PLANTED[kind][-16:])
    begin = f"https{secret}" if kind == "url_password" else secret
    texts = [
        "Nothing here.",
        f"ünder = '{begin}{'example.com' * (kind == 'url_password')}' and so on",
        "The rest. " * 900,
    ]
    value = look_at_text(dataset_of(tmp_path, texts), "train", Silent())
    found = {one["kind"]: one for one in value["findings"]}
    assert list(found) == [kind]
    assert (found[kind]["count"], found[kind]["documents"]) == (1, 1)
    example = found[kind]["examples"][0]
    assert (example["document"], example["offset"]) == (1, len(texts[1][: texts[1].index(secret)].encode()))
    assert hidden not in str(value) and "****" in example["excerpt"]


def test_what_only_looks_a_little_like_a_secret_is_none():
    text = (
        "-----BEGIN PRIVATE KEY----- is how such a file begins. sk-this-is-a-long-name-of-a-class risk-"
        "AKIA is a prefix; xAKIAQ3EGRTWZ7HPLX2NC; http://{user}:%s@host/; http://a.b:8080/@x; @decorator.of.mine "
        "1234567890123456 4242424242424243 3.4242424242424242 2026-11-22 555-0147 192.168.100.200 1,000,000"
    )
    assert [(one.kind, text[one.begin : one.end]) for one in secrets(text.encode())] == []


def test_a_mask_has_the_length_of_what_it_hides():
    text = "\n".join(PLANTED.values()).encode()
    found = secrets(text)
    shown = masked(text, found)
    assert len(shown) == len(text) and shown.count(b"\n") == text.count(b"\n")
    assert {one.kind for one in found} >= set(PLANTED) - {"url_password"}
    for hidden in [DRAWN, *HIDDEN.values()]:
        assert hidden.encode()[:16] not in shown or hidden == HIDDEN["url_password"]
    assert b"AKIA************" in shown and b"4242\n" not in shown.replace(b" 4242", b"")


def test_masking_leaves_nothing_to_find():
    text = "\n".join(f"a {secret} b" for secret in PLANTED.values()).encode()
    assert secrets(masked(text, secrets(text))) == []


@pytest.mark.parametrize("digits", ["378282246310005", "5555555555554444", "6011111111111117", "4111111111111111"])
def test_the_card_industrys_test_numbers_have_right_check_digits(digits):
    assert luhn(digits.encode())
    assert [one.kind for one in secrets(f"card {digits}.".encode())] == ["card"]
    wrong = digits[:-1] + str((int(digits[-1]) + 1) % 10)
    assert secrets(wrong.encode()) == []


@pytest.mark.parametrize("number", ["212-555-0147", "+1 212 555 0147", "+44 20 7946 0958", "+49 (30) 901820 12"])
def test_telephone_numbers_are_found(number):
    assert [one.kind for one in secrets(f"call {number} now".encode())] == ["phone"]


def test_classes_are_unicodes():
    kinds = classes()
    for point in range(0, 0x110000, 7):
        category = unicodedata.category(chr(point))
        if category in ("Lu", "Ll", "Nd", "Po", "Sm", "Zs") and not any(point in points for points in SETS.values()):
            assert kinds[point] == 0
        assert (kinds[point] != 0) >= (category in ("Co", "Cn") or (category == "Cc" and point not in (9, 10)))


def test_bytes_that_are_no_text_do_not_move_what_is_found():
    assert odd_characters("é\u200b".encode() + b"\xff\xfe" + "é\u200b".encode())["zero_width"].tolist() == [2, 9]


@pytest.mark.parametrize("size", [40, 300, 5000])
@pytest.mark.parametrize("tokenizer", ["bytes", "characters", "bpe"])
def test_stretches_are_the_text(tmp_path, monkeypatch, tokenizer, size):
    monkeypatch.setattr(stretches_module, "TOKENS_A_TIME", size)
    random = np.random.default_rng(size)
    texts = [
        " ".join(random.choice(["ein", "Überfluß", "an\n", "中文"], count)).strip() for count in (3, 900, 1, 40, 300)
    ]
    dataset = dataset_of(tmp_path, texts, tokenizer, vocabulary=300)
    joined = {split: {} for split in ("train", "valid")}
    for split, documents in joined.items():
        for stretch in stretches(dataset, split):
            stretch.text.decode()  # no character is cut
            ends = [*(stretch.begins[1:] - 1), len(stretch.text)]
            for index, (begin, end) in enumerate(zip(stretch.begins, ends, strict=True)):
                held = documents.get(stretch.first + index, b"")
                assert len(held) == (stretch.offset if index == 0 else 0)
                documents[stretch.first + index] = held + stretch.text[begin:end]
            documents[stretch.first + index] = documents[stretch.first + index]
    found = [text for documents in joined.values() for text in documents.values()]
    assert [text.removesuffix(b"\n") for text in found] == [text.encode() for text in texts]


def test_places_of_tokens_are_those_of_their_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(stretches_module, "TOKENS_A_TIME", 16)
    texts = ["Ünder the sea " * 5, "and over it " * 9, "x" * 400]
    dataset = dataset_of(tmp_path, texts, "characters")
    places = Places(dataset, "train")
    end = len(texts[0])
    assert places.of_token(end) == places.of_token(end + 1), "the end of text has no bytes"
    for token in (0, 1, 30, len(texts[0]) + 1, len(texts[0]) + 50):
        document, character = (0, token) if token < len(texts[0]) else (1, token - len(texts[0]) - 1)
        place = places.of_token(token)
        offset = len(texts[document][:character].encode())
        assert (place["document"], place["offset"]) == (document, offset)
        assert place["split_offset"] == offset + (len(texts[0].encode()) if document else 0)


def test_long_lines_are_measured_whole(tmp_path, portions, monkeypatch):
    monkeypatch.setattr(lines_module, "LONG_LINE_BYTES", 500)
    texts = ["short\n" * 9, f"one\n{'ab ' * 200}\ntwo {'c' * 499}", "d" * 499, "The rest.\n" * 300]
    found = findings(dataset_of(tmp_path, texts), "train")["long_line"]
    assert (found["count"], found["documents"]) == (2, 1)
    assert [(one["document"], one["offset"], one["note"]) for one in found["examples"]] == [
        (1, 4, "600 bytes"),
        (1, 605, "503 bytes"),
    ]


def boilerplate(dataset, split="train"):
    return look_at_text(dataset, split, Silent())["boilerplate"]


def test_boilerplate_is_what_stands_in_many_documents(tmp_path, portions):
    notice = "All rights reserved by nobody at all."
    texts = [f"Text number {number}.\n{notice}\n{notice if number == 3 else ''}" for number in range(250)]
    texts[:20] = [f"{text}\nSubscribe to the letter, 100 % free" for text in texts[:20]]
    texts[0] += "\nonly here, but twenty times over" * 20
    found = boilerplate(dataset_of(tmp_path, texts, valid_share=0.1))
    assert (found["counted"], found["at_least"], found["lines"]) == ("documents", 10, 2)
    first, second = found["examples"]
    train = sum(text.encode().count(b"Text") for text in texts[: first["documents"]])
    assert first["excerpt"] == notice and first["count"] == first["documents"] + 1 == train + 1
    assert (first["document"], first["offset"]) == (0, len("Text number 0.\n"))
    assert (second["documents"], second["excerpt"]) == (20, "Subscribe to the letter, 100 % free")
    assert found["bytes"] == first["count"] * (len(notice) + 1) + 20 * 36


def test_boilerplate_of_a_key_s_lines_is_masked(tmp_path):
    texts = [f"Text number {number}.\n{PLANTED['private_key']}\n" for number in range(60)]
    found = boilerplate(dataset_of(tmp_path, texts))
    assert found["lines"] >= 3 and DRAWN not in str(found)


def test_in_one_document_occurrences_count(tmp_path):
    text = "".join(f"line {number} is its own\n{'-' * 30}\n" for number in range(40))
    found = boilerplate(dataset_of(tmp_path, [text]))
    assert (found["counted"], found["lines"], found["examples"][0]["excerpt"]) == ("occurrences", 1, "-" * 30)
    assert found["examples"][0]["count"] == 20


def test_lines_that_share_a_cell_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(lines_module, "CELLS", 2)
    lines = [f"a line that stands here only, number {number}" for number in range(300)]
    found = boilerplate(
        dataset_of(tmp_path, ["\n".join([*["one that stands often enough"] * 30, *lines])], valid_share=0.01)
    )
    assert [one["count"] for one in found["examples"]] == [30]


def test_boilerplate_must_stand_in_more_documents_where_there_are_more():
    assert [fewest_repeats(documents) for documents in (1, 9_000, 20_000, 2_000_000)] == [10, 10, 20, 2000]


def test_a_tokenizer_that_loses_lines_says_nothing_of_them(tmp_path):
    texts = [f"one two {PLANTED['email']} three\nfour"] + ["five six seven\n" * 9] * 3
    value = look_at_text(dataset_of(tmp_path, texts, "words", unknown="replace"), "train", Silent())
    assert value["boilerplate"] is None
    assert [one["kind"] for one in value["findings"]] == ["email"]
    assert value["findings"][0]["examples"][0]["split_offset"] is None


def test_the_bar_counts_the_bytes(tmp_path, portions):
    dataset, listener = dataset_of(tmp_path, ["Some text. " * 50] * 4), Listener()
    look_at_text(dataset, "train", listener)
    assert listener.tasks[0] == ("reading train", int(dataset.document_bytes("train").sum()))
    assert 0 <= listener.done[0] - listener.tasks[0][1] <= 4, "and a line break after each document"


def test_excerpts_show_what_can_not_be_seen():
    assert visible("a\u202eb\x00\n\U000e0041".encode()) == "a\\u202eb\\x00\\n\\U000e0041"
    assert visible("é".encode()[1:] + b"abc" + "é".encode()[:1]) == "abc"


def test_every_kind_is_named():
    assert set(KINDS) == {*CHARACTERS, *PLANTED, "long_line"} == {*CHARACTERS, *SECRETS, "long_line"}


def test_a_document_is_cut_at_a_line_break_or_between_characters():
    assert cut_before(b"one\ntwo thr") == 4
    assert cut_before("über ü".encode()[:-1]) == 5
    assert cut_before("aü".encode()[:-1]) == 1
    assert cut_before(b"abc") == 3
