"""Resolve the recipe that a command names: a recipe's name or file, or a text for which one is chosen. Shared by all commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.catalogue import CATALOGUE
from lmlab.data.dataset import is_reference, open_dataset
from lmlab.data.progress import Progress, shown
from lmlab.data.readers import size_on_disk
from lmlab.data.remembered import READING, datasets_of, reading_of, words_of
from lmlab.data.sources import Source, resolve
from lmlab.data.survey import Survey, survey
from lmlab.experiment.own_text import facts_of
from lmlab.planning.texts.choose import Choice, TextFacts, choose_data, choose_recipe
from lmlab.recipe import Data, Recipe, check, is_recipe, load_recipe, override, with_settings
from lmlab.recipe.check import problems
from lmlab.recipe.data import tokenizer_needs
from lmlab.recipe.derived import notes
from lmlab.recipe.quantities import parameters_in

Say = Callable[[str], object]
LARGEST_WITHOUT_BUDGET = 2_000_000_000
"""Bytes of a corpus that is prepared whole where nobody says how much of it."""
COULD_BE_CHOSEN = ("300k", "1M", "10M")
"""Sizes that a text may get where none is requested."""


@dataclass(frozen=True, kw_only=True)
class _Text:
    """A text for which a recipe is chosen."""

    source: Source
    data: Data
    """How it is read: the corpus, with the settings of READING."""
    settings: Mapping[str, Any]
    """The requested settings, and those found from earlier data sets."""
    notes: tuple[str, ...]
    """Lines about settings that were found."""

    def facts(self, progress: Progress) -> tuple[TextFacts, Survey]:
        """Return the facts on which the choice is based."""
        return facts_of(self.source, self.data, *_tokenizer_asked(self.settings), progress)


def names_text(target: str) -> bool:
    """Return whether `target` names a text: a path, an existing file, a catalogue corpus, or standard input. Everything else is a
    recipe's name.
    """
    if is_recipe(target):
        return False
    return target == "-" or target in CATALOGUE or os.path.exists(target) or "." in Path(target).name or "/" in target


def recipe_asked(
    target: str,
    settings: Mapping[str, Any],
    size: str | None = None,
    say: Say = print,
    progress: Progress | None = None,
    *,
    planned: bool = False,
) -> Recipe:
    """Return the recipe of that name, or one chosen for that text, with the settings; LabError where there is none.

    `settings` are dotted names with their values, `size` the number of parameters for a text's model, such as 2M. `say` is called
    with the reasons for the choice, and with notes about the text; where the caller has `planned` the rest, only with the reason
    for the tokenizer. Impossible settings raise before the text is read.
    """
    if not names_text(target):
        if size:
            raise LabError(
                f"--size is for a text, but {target} has its shape: change it with --model.width and its like"
            )
        return _named(target, settings, say)
    from lmlab.hardware.device import choose_device

    _require_possible(target, settings, size)
    device = choose_device(_with(settings, "train.device").train.device).type
    with shown(progress) as progress:
        text = _text(target, settings, progress)
        facts, seen = text.facts(progress)
    choice = choose_recipe(facts, device, size, *_length(settings), settings)
    for line in (*text.notes, *seen.notes(), *(choice.reasons[:1] if planned else choice.reasons)):
        say(line)
    return _with_settings(choice.recipe, text.settings, (lambda line: None) if planned else say)


def data_asked(target: str, settings: Mapping[str, Any], say: Say = print, progress: Progress | None = None) -> Recipe:
    """Return the recipe whose data `recipe_asked` would choose, for commands that only prepare and describe it; for a text the rest
    of the recipe is the default. A prepared data set is named by its id or folder; whatever is no recipe is a text.
    """
    if is_recipe(target):
        return _named(target, settings, say)
    if is_reference(target):
        tokenizer = open_dataset(target).facts["tokenizer"]["name"]
        return override(Recipe(data=Data(corpus=target, tokenizer=tokenizer)), settings)
    _require_possible(target, settings, None)
    with shown(progress) as progress:
        text = _text(target, settings, progress)
        facts, _ = text.facts(progress)
    data, _, reason = choose_data(facts)
    for line in (*text.notes, reason):
        say(line)
    return override(Recipe(data=data), text.settings)


def text_asked(
    target: str, settings: Mapping[str, Any], progress: Progress | None = None
) -> tuple[Survey, tuple[str, ...]]:
    """Survey all of a text, and return the reasons for the recipe that `lmlab train` would choose for it (or why it can't)."""
    from lmlab.hardware.device import choose_device

    with shown(progress) as progress:
        text = _text(target, settings, progress)
        facts, _ = text.facts(progress)
        seen = survey(text.source, text.data.column, progress)
    try:
        choice: Choice = choose_recipe(facts, choose_device().type)
    except LabError as error:
        return seen, (*text.notes, str(error))
    return seen, (*text.notes, *choice.reasons)


def _named(name: str, settings: Mapping[str, Any], say: Say) -> Recipe:
    base = load_recipe(name)
    return _with_settings(base, {**tokenizer_needs(base.data, settings), **settings}, say)


def _with_settings(recipe: Recipe, settings: Mapping[str, Any], say: Say) -> Recipe:
    changed = with_settings(recipe, settings)
    for line in notes(recipe, changed, settings):
        say(line)
    return check(changed)


def _with(settings: Mapping[str, Any], *names: str) -> Recipe:
    """Return the default recipe with those of the settings that are named."""
    return override(Recipe(), {name: settings[name] for name in names if name in settings})


def _length(settings: Mapping[str, Any]) -> tuple[int | None, float | None]:
    """Return the requested steps and epochs."""
    train = _with(settings, "train.steps", "train.epochs").train
    return (train.steps if "train.steps" in settings else None), train.epochs


def _tokenizer_asked(settings: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """Return the requested tokenizer and vocabulary; a vocabulary alone means a BPE of that size."""
    data = _with(settings, "data.tokenizer", "data.vocabulary").data
    asked = "data.tokenizer" in settings or "data.vocabulary" in settings
    return data.tokenizer if asked else None, data.vocabulary if "data.vocabulary" in settings else None


def _text(target: str, settings: Mapping[str, Any], progress: Progress) -> _Text:
    """Return the text, read with the given settings, else as it was prepared before; LabError where it can't be read."""
    # With a budget only a part of some corpora is read, and only a part is hashed.
    own = {name: settings[name] for name in (*READING, "data.split", "data.tokens") if name in settings}
    data = override(Recipe(), {**own, "data.corpus": target}).data
    source = resolve(data, progress=progress)
    size = sum(map(size_on_disk, source.files))
    if source.in_shards and "data.tokens" not in settings and size > LARGEST_WITHOUT_BUDGET:
        raise LabError(
            f"{target} has {size / 1e9:,.1f} GB of files: choose how many training tokens to prepare with --data.tokens, such as "
            "100M (none: all of them)"
        )
    if any(name in settings for name in READING):
        return _Text(source=source, data=data, settings=settings, notes=())
    again, notes = _found_again(target, source)
    if again:
        data = override(Recipe(data=data), again).data
        source = resolve(data, progress=progress)
    return _Text(source=source, data=data, settings={**again, **settings}, notes=notes)


def _found_again(target: str, source: Source) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the settings with which data sets were prepared from this text, where they are unambiguous, and notes about them."""
    readings = {tuple(reading_of(one).items()): one for one in datasets_of(source)}
    others = {words_of(dict(items)).strip(): one.id for items, one in readings.items() if items}
    if not others:
        return {}, ()
    listed = "; ".join(f"{words} (data set {identity})" for words, identity in others.items())
    if () in readings:
        return {}, (f"{target} was also prepared with {listed}: add these settings to read it so",)
    if len(others) > 1:
        raise LabError(
            f"{target} was prepared with different settings: {listed}; set how it is read, with one of these or with "
            "--data.separator ''"
        )
    ((items, one),) = readings.items()
    note = f"{target} is read as for data set {one.id}: {words_of(dict(items)).strip()} (to read it without: --data.separator '')"
    return dict(items), (note,)


def _require_possible(target: str, settings: Mapping[str, Any], size: str | None) -> None:
    """Raise LabError for settings that are invalid for any text: unknown names, impossible values, and combinations that every
    recipe that could be chosen would reject.
    """
    if size:
        parameters_in(size)
    found = []
    # Another family has no sizes: its settings are the same for every text.
    gpt = settings.get("model.kind", "gpt") == "gpt"
    for name in [size] if size or not gpt else COULD_BE_CHOSEN:
        for length in (50_000, 20_000_000):
            made_up = TextFacts(
                name="text",
                corpus=target,
                bytes=length,
                distinct_characters=60,
                words=length // 6,
            )
            try:
                recipe = choose_recipe(made_up, "cpu", name, *_length(settings), settings).recipe
            except LabError as error:
                found.append([str(error)])
            else:
                found.append(list(problems(with_settings(recipe, settings))))
    for problem in found[0]:
        if all(problem in other for other in found[1:]):
            raise LabError(problem)
