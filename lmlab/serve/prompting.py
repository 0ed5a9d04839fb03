"""A conversation as the tokens that a model reads before its answer, as it read conversations when it was tuned.

What is given is encoded as one text up to where an answer begins, and each answer by itself, with the end of text if the template
has nothing after an answer. So earlier turns are the tokens that it was tuned on.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmlab.data.instructions.encoding import parts_of
from lmlab.data.tokenizers import Tokenizer
from lmlab.generation.prompts import encode_prompts
from lmlab.recipe.template import Message, Template


def prompt_ids(tokenizer: Tokenizer, template: Template, messages: Sequence[Message]) -> list[int]:
    """Return the tokens up to where the answer to the last message begins.

    LabError unless the turns are as the template needs them and end with a user's message, and for symbols that the tokenizer
    lacks.
    """
    template.prompt(messages)  # refuses other turns
    parts = parts_of(template, messages)
    texts = [part.text for part in parts]
    texts[-1] += template.assistant[0]
    found: list[int] = []
    for ids, part in zip(encode_prompts(tokenizer, texts), parts, strict=True):
        end = [tokenizer.end_of_text] if part.ends_text and tokenizer.end_of_text is not None else []
        found += [*ids, *end]
    return found
