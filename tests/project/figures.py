"""Which numbers of a page are figures, and whether a JSON file holds them.

A figure is a number that somebody measured. These are none, and `NOT_MEASURED` says each by its pattern and its reason: settings,
versions, dates, names, and counts that follow from a formula. What stands between a page's markers (`<!-- begin: X -->`) is left
out too: a command writes it, and a test of its own makes it again.

A figure is found where rounding a number of the JSON to as many places as are printed gives it, in the unit that is printed: 38.6%
is 0.386 there, 28 min 42 s is 1722, 1.5 GB is 1500000000. A published figure is found among the claims of the recipes.
"""

import json
import math
import re
from bisect import bisect_left
from decimal import Decimal

from benchmarks.render import PLACE
from lmlab.recipe import load_recipe, recipe_names

NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?|\.\d+"
FIGURE = re.compile(
    rf"(?<![\w.^/-])(?P<sign>[+-])?(?P<number>{NUMBER})(?P<unit> ?(?:%|ms\b|s\b|min\b|h\b|GB\b|MB\b))?(?![\w^]|\.\d)"
)
DURATION = re.compile(r"(?<!\w)(\d+) (h|min) (\d\d?) (min|s)\b")
SECONDS = {"h": 3600, "min": 60, "s": 1}
SCALES = {"%": (0.01,), "ms": (0.001,), "GB": (1e9,), "MB": (1e6,), "min": (60,), "h": (3600,)}
"""Unit -> what one of it is in the unit of the JSON (shares, seconds, bytes); 1 for the others."""

LEFT_OUT = (
    (re.compile(r"<!--.*?-->", re.DOTALL), "a marker"),
    (re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE), "a block of code: commands and their settings"),
    (re.compile(r"^(?: {4}|\t).*$", re.MULTILINE), "a block of code"),
    (re.compile(r"`[^`\n]*`"), "code within a line: names, commands, settings"),
    (re.compile(r"\]\([^)]*\)"), "the address of a link"),
    (re.compile(r"https?://\S+"), "an address"),
)
NOT_MEASURED = (
    (re.compile(r"\b20\d\d-\d\d-\d\d\b"), "a date"),
    (re.compile(r"\b(?:Python|torch|PyTorch|lmlab|CUDA|C\+\+|of) \d+(?:\.\d+)+(?! ?%)"), "a version"),
    (re.compile(r"\b[A-Z][a-z]+ \((?:19|20)\d\d\)"), "a paper's year"),
    (re.compile(r"\b\d+ times (?=the (?:parameters|text|arithmetic)\b)"), "a ratio of settings"),
    (re.compile(r"\barXiv[: ]\d{4}\.\d{5}\b"), "a paper"),
    (
        re.compile(
            r"\b(?:95|80)% (?=[-+.\d])|\(95%\)|\b(?:for|of) 80%|\b95% intervals?\b|\b(?:of|level of) (?:80|95)%"
        ),
        "the level of an interval",
    ),
    (
        re.compile(r"\b(?:step|steps|seeds?|round|machine|status|exit|Exit status) \d[\d,]*\b|\b\d, \d, \d\b"),
        "which one it is",
    ),
    (re.compile(r"\bthe 20 of Chinchilla\b"), "published: tokens a parameter"),
    (re.compile(r"Exit status: 0 .*, 1 .*, 2 .*, 3 "), "which one it is"),
    (re.compile(r"\b\d[\d,]*(?= (?:validation )?tokens\b)"), "a setting"),
    (re.compile(r"\b\d[\d,]*(?= (?:records|questions)\b)"), "a setting: the size of a published split"),
    (re.compile(r"\b(?:batch|batches of|vector|vectors of|layers of|widths? of|every) \d[\d,]*\b"), "a setting"),
    (
        re.compile(
            rf"(?:{NUMBER})(?= (?:layers?|steps?|epochs?|sequences?|seeds?|heads?|streams?|random batches|cores?|threads?)\b)"
        ),
        "a setting",
    ),
)


def text_to_check(page):
    """The page without what a command writes, code, and addresses."""
    text = PLACE.sub("", page)
    for pattern, _ in LEFT_OUT:
        text = pattern.sub(" ", text)
    for pattern, _ in NOT_MEASURED:
        text = pattern.sub(" ", text)
    return text


def figures(page):
    """Each figure as (what is printed, its number, its unit)."""
    text = text_to_check(page)
    found = []

    def duration(match):
        first, big, second, small = match.groups()
        seconds = int(first) * SECONDS[big] + int(second) * SECONDS[small]
        found.append((match[0], str(seconds), "s"))
        return " "

    text = DURATION.sub(duration, text)
    for match in FIGURE.finditer(text):
        found.append((match[0].strip(), match["number"].replace(",", ""), (match["unit"] or "").strip()))
    return found


def numbers(value):
    """Every number of a JSON value; not those within its texts, where any may stand."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield abs(value)
    elif isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)


def numbers_of(paths):
    """Every number of these files, and of what the recipes claim."""
    values = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    claims = [claim.value for name in recipe_names() for claim in load_recipe(name).claims]
    return sorted(number for number in {*numbers(values), *numbers(claims)} if math.isfinite(number))


def is_found(number, unit, known):
    """Whether one of the sorted numbers, in this unit, is printed as this one: it lies within half of the last place."""
    printed = Decimal(number)
    half = Decimal(1).scaleb(printed.as_tuple().exponent) / 2
    for scale in SCALES.get(unit, (1,)):
        low, high = ((printed + side * half) * Decimal(str(scale)) for side in (-1, 1))
        slack = 1e-9 * float(high)  # a float at the border is rounded either way
        place = bisect_left(known, float(low) - slack)
        if place < len(known) and known[place] <= float(high) + slack:
            return True
    return False


def missing(page, paths):
    """The figures of a page that no file holds."""
    known = numbers_of(paths)
    return [printed for printed, number, unit in figures(page) if not is_found(number, unit, known)]
