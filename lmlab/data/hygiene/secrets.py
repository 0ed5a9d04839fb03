"""Likely secrets and personal data, found by their format, and masking them in a text.

Each format contains one of a few literal byte strings; these are searched for quickly, and only there
the pattern is tried. The formats are those that the services document. What is found is likely, not certain, and what has
no fixed format (a password by itself) is not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

WORD = re.compile(rb"[A-Za-z0-9_]")


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A likely secret in a text."""

    kind: str
    begin: int
    end: int
    hidden: int
    """The first byte to mask; those before it identify the kind."""
    hidden_end: int
    """The byte after the last one to mask."""


@dataclass(frozen=True, kw_only=True)
class SecretShape:
    """The format of secrets of one kind."""

    kind: str
    about: str
    needles: tuple[bytes, ...]
    """Literal byte strings, one of which begins the secret."""
    pattern: re.Pattern[bytes]
    """The whole format, from the needle on; group 1 is the part to mask."""
    check: Callable[[bytes], bool]
    """A final test of the part to mask."""
    alone: bool
    """Whether a match after a letter, digit or _ is rejected."""


def looks_drawn(secret: bytes) -> bool:
    """Return whether letters and digits look random rather than written: at least two digits, and many different characters.

    >>> looks_drawn(b"4f9Qx02kZpLw81Vb"), looks_drawn(b"your-api-key-goes-here"), looks_drawn(b"00000000000000000000")
    (True, False, False)
    """
    return sum(byte in b"0123456789" for byte in secret) >= 2 and len(set(secret)) >= min(10, len(secret) // 2 + 1)


def _anything(secret: bytes) -> bool:
    return True


def _holds_a_key(body: bytes) -> bool:
    """Return whether the header is followed by a key, rather than by a text about keys."""
    return re.search(rb"[A-Za-z0-9+/=]{40}", body) is not None


def _is_filled_in(login: bytes) -> bool:
    """Return whether name and password aren't placeholders, as in http://{user}:%s@host."""
    return re.search(rb"[%{}$*\\]", login) is None


def _shape(
    kind: str,
    about: str,
    needles: tuple[bytes, ...],
    rest: bytes,
    *,
    check: Callable[[bytes], bool] = _anything,
    alone: bool = True,
) -> SecretShape:
    pattern = re.compile(b"(?:" + b"|".join(map(re.escape, needles)) + b")" + rest)
    return SecretShape(kind=kind, about=about, needles=needles, pattern=pattern, check=check, alone=alone)


SHAPES = (
    _shape(
        "private_key",
        "private keys",
        (b"-----BEGIN ",),
        rb"(?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----((?:(?!-----END)[\s\S]){0,20000})",
        check=_holds_a_key,
        alone=False,
    ),
    _shape("aws_key", "access keys of AWS", (b"AKIA", b"ASIA", b"ABIA", b"ACCA"), rb"([A-Z2-7]{16})(?![A-Za-z0-9])"),
    _shape(
        "github_token",
        "tokens of GitHub",
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
        rb"([A-Za-z0-9_]{36,255})",
        check=looks_drawn,
    ),
    _shape("gitlab_token", "tokens of GitLab", (b"glpat-",), rb"([A-Za-z0-9_-]{20,64})", check=looks_drawn),
    _shape(
        "slack_token",
        "tokens of Slack",
        (b"xoxb-", b"xoxa-", b"xoxp-", b"xoxr-", b"xoxs-", b"xoxe-", b"xapp-"),
        rb"([A-Za-z0-9-]{10,250})",
        check=looks_drawn,
    ),
    _shape(
        "slack_webhook",
        "webhooks of Slack",
        (b"hooks.slack.com/services/",),
        rb"(T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{16,})",
        alone=False,
    ),
    _shape("google_key", "API keys of Google", (b"AIza",), rb"([A-Za-z0-9_-]{35})(?![A-Za-z0-9_-])", check=looks_drawn),
    _shape(
        "sk_key",
        "keys that begin with sk- (OpenAI and others)",
        (b"sk-",),
        rb"([A-Za-z0-9_-]{20,250})",
        check=looks_drawn,
    ),
    _shape(
        "stripe_key",
        "keys of Stripe",
        (b"sk_live_", b"rk_live_", b"sk_test_", b"rk_test_"),
        rb"([A-Za-z0-9]{16,250})",
        check=looks_drawn,
    ),
    _shape("huggingface_token", "tokens of Hugging Face", (b"hf_",), rb"([A-Za-z0-9]{34,40})(?![A-Za-z0-9])"),
    _shape("npm_token", "tokens of npm", (b"npm_",), rb"([A-Za-z0-9]{36})(?![A-Za-z0-9])", check=looks_drawn),
    _shape(
        "json_web_token",
        "JSON web tokens",
        (b"eyJ",),
        rb"([A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000})",
    ),
    _shape(
        "url_password",
        "passwords in addresses",
        (b"://",),
        rb"([^\s/:@'\"<>]{0,64}:[^\s/@'\"<>]{1,64})@[A-Za-z0-9\[]",
        check=_is_filled_in,
        alone=False,
    ),
)

AT = re.compile(rb"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])")
LOCAL_PART = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}\Z")
# From the first digit of the number; the text before it is checked afterwards.
CARD = re.compile(rb"[2-6]\d{3}(?:([ -]?)\d{4}\1\d{4}\1\d{4}|([ -]?)\d{6}\2\d{5})(?![\w.,-]*\d)")
ISSUED = re.compile(rb"3[47]\d{13}|(?:4\d|5[1-5]|2[2-7]|6[05])\d{14}")
"""American Express with 15 digits; Visa, Mastercard, Discover and the like with 16."""
PHONE = re.compile(rb"\d{3}[ .-]\d{4}(?![\w-]|\.\d)")
AREA = re.compile(rb"(?:(?:\+?1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-]))\Z")
ABROAD = re.compile(rb"\+[1-9]\d{0,2}(?:[ .-]?\(\d{1,4}\))?(?:[ .-]\d{1,7}){2,6}(?![\w-])")

PERSONAL = {
    "email": "e-mail addresses",
    "phone": "numbers like telephone numbers",
    "card": "numbers like those of credit cards (with a right check digit)",
}
KINDS = {**{shape.kind: shape.about for shape in SHAPES}, **PERSONAL}


def secrets(text: bytes) -> list[Secret]:
    """Return all likely secrets in order of place; personal data only outside other secrets."""
    found = [secret for shape in SHAPES for secret in _of_shape(shape, text)]
    milder = [*_emails(text), *_cards(text), *_phones(text)]
    found += [one for one in milder if not any(one.begin < other.end and other.begin < one.end for other in found)]
    return sorted(found, key=lambda secret: secret.begin)


def masked(text: bytes, found: list[Secret]) -> bytes:
    """Return the text, of unchanged length, with * for every byte to mask; line breaks are kept."""
    if not found:
        return text
    shown = bytearray(text)
    for secret in found:
        hidden = text[secret.hidden : secret.hidden_end]
        shown[secret.hidden : secret.hidden_end] = re.sub(rb"[^\r\n]", b"*", hidden)
    return bytes(shown)


def luhn(digits: bytes) -> bool:
    """Return whether the last digit is the check digit of card numbers (ISO/IEC 7812-1, annex B).

    >>> luhn(b"4242424242424242"), luhn(b"4242424242424241")
    (True, False)
    """
    values = [digit - 48 for digit in digits[::-1]]
    return (sum(values[::2]) + sum(sum(divmod(2 * value, 10)) for value in values[1::2])) % 10 == 0


def _of_shape(shape: SecretShape, text: bytes) -> Iterator[Secret]:
    for needle in shape.needles:
        place = text.find(needle)
        while place >= 0:
            match = shape.pattern.match(text, place)
            before = text[place - 1 : place] if place else b""
            if match and not (shape.alone and WORD.match(before)) and shape.check(match[1]):
                yield Secret(
                    kind=shape.kind, begin=place, end=match.end(1), hidden=match.start(1), hidden_end=match.end(1)
                )
                place = text.find(needle, match.end(1))
            else:
                place = text.find(needle, place + len(needle))


def _emails(text: bytes) -> Iterator[Secret]:
    for match in AT.finditer(text) if b"@" in text else ():
        local = LOCAL_PART.search(text, max(0, match.start() - 64), match.start())
        if local:
            yield Secret(
                kind="email", begin=local.start(), end=match.end(), hidden=local.start(), hidden_end=match.start()
            )


def _cards(text: bytes) -> Iterator[Secret]:
    for match in CARD.finditer(text):
        digits = re.sub(rb"[ -]", b"", match[0])
        apart = not re.match(rb"[\w.,+-]", text[match.start() - 1 : match.start()] if match.start() else b"")
        if apart and ISSUED.fullmatch(digits) and len(set(digits)) > 1 and luhn(digits):
            yield Secret(
                kind="card", begin=match.start(), end=match.end(), hidden=match.start(), hidden_end=match.end() - 4
            )


def _phones(text: bytes) -> Iterator[Secret]:
    for match in PHONE.finditer(text):
        area = AREA.search(text, max(0, match.start() - 12), match.start())
        if area and not re.match(rb"[\w.+-]", text[area.start() - 1 : area.start()] if area.start() else b""):
            yield Secret(
                kind="phone", begin=area.start(), end=match.end(), hidden=area.start(), hidden_end=match.end() - 2
            )
    for match in ABROAD.finditer(text) if b"+" in text else ():
        if match[0].startswith((b"+1 ", b"+1-", b"+1.")):
            continue  # found above
        apart = not re.match(rb"[\w.+-]", text[match.start() - 1 : match.start()] if match.start() else b"")
        if apart and 9 <= sum(byte in b"0123456789" for byte in match[0]) <= 15:
            yield Secret(
                kind="phone", begin=match.start(), end=match.end(), hidden=match.start(), hidden_end=match.end() - 2
            )
