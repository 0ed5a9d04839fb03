"""Conversations as tokens, each with a mark whether the model writes it.

    given text, joined     response                   given       response
    ...### Response:\\n     ANSWER<end of text>         ...         ...

What is given is encoded as one text up to where an answer begins, and each answer by itself. So the tokens of a question are those
that the model reads when it is asked (`Template.prompt`), whatever its answer begins with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError
from lmlab.data.tokenizers import Tokenizer
from lmlab.recipe.template import Message, Segment, Template


@dataclass(frozen=True, kw_only=True)
class EncodedConversation:
    """The tokens of a conversation."""

    ids: NDArray[np.int32]
    """[tokens]."""
    response: NDArray[np.bool_]
    """Whether the model writes each of them, [tokens]."""


def parts_of(template: Template, messages: Sequence[Message]) -> list[Segment]:
    """Return the conversation's text in the parts that are encoded: adjacent given segments joined, each answer by itself."""
    parts: list[Segment] = []
    for segment in template.segments(messages):
        if parts and not segment.response and not parts[-1].response:
            parts[-1] = Segment(text=parts[-1].text + segment.text)
        else:
            parts.append(segment)
    return parts


def encoded_conversations(
    tokenizer: Tokenizer, template: Template, conversations: Sequence[Sequence[Message]]
) -> Iterator[EncodedConversation]:
    """Yield the tokens of each conversation; raises LabError for a symbol that the tokenizer refuses.

    The tokenizer must have an end of text (`require_end`).
    """
    end = require_end(tokenizer, template)
    divided = [parts_of(template, messages) for messages in conversations]
    arrays = iter(tokenizer.encode_batch([part.text for parts in divided for part in parts]))
    for parts in divided:
        ids: list[NDArray[np.int32]] = []
        for part in parts:
            ids.append(np.append(next(arrays), np.int32(end)) if part.ends_text else next(arrays))
        sizes = [len(part) for part in ids]
        response = np.repeat([part.response for part in parts], sizes)
        yield EncodedConversation(ids=np.concatenate(ids).astype(np.int32), response=response)


def require_end(tokenizer: Tokenizer, template: Template) -> int:
    """Return the tokenizer's end of text; raises LabError without one, since the model could then never end an answer."""
    if tokenizer.end_of_text is None:
        raise LabError(
            f"the {tokenizer.name} tokenizer has no end-of-text token, because its corpus was one document, so a model could never "
            f"end an answer of the template {template.name}: begin from a model that was trained on several documents"
        )
    return tokenizer.end_of_text
