"""The data settings: corpus, tokenizer, split and order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lmlab.recipe.setting import setting

IMPORTED = "imported"
"""The tokenizer of an imported model, which isn't made from a text."""
TOKENIZERS = ["characters", "bytes", "words", "gpt2", "bpe", IMPORTED]
"""Names of the tokenizers; `lmlab.data.tokenizers.add_tokenizer` adds one."""
SplitName = Literal["auto", "published", "hash", "tail", "first", "sequential"]
OrderName = Literal["shuffle", "shifted", "random", "documents"]
WindowsName = Literal["stream", "documents", "cropped", "bucketed", "packed"]
TemplateName = Literal["none", "alpaca", "chatml", "phi3", "plain"]
TargetsName = Literal["all", "response"]
UnknownName = Literal["refuse", "replace"]
NewlinesName = Literal["keep", "lf"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Corpus, tokenizer, split and batch order."""

    corpus: str = setting("stdlib")
    """A catalogue name (lmlab data show), a text, JSONL or parquet file, a folder or .zip archive of such files, - for standard
    input, or the id or folder of a prepared data set."""
    column: str = setting("text")
    """Which column of a JSONL or parquet corpus holds the text."""
    separator: str = setting("")
    """A line that ends a document in a text file, such as <|endoftext|>; \\n: every line is a document; empty: a file is one."""
    minimum_words: int = setting(0, at_least=0, at_most=1000, came_later=True)
    """Documents with fewer words (separated by white space) are left out."""
    newlines: NewlinesName = setting("keep", came_later=True)
    """keep: line breaks stay as they are; lf: \\r\\n and \\r become \\n, for a text from Windows."""
    tokenizer: str = setting("bpe", choices=TOKENIZERS)
    """How text becomes tokens; bpe is byte-level and trained on the training split, imported comes with an imported model."""
    vocabulary: int | None = setting(1024, at_least=2, at_most=1 << 22)
    """How many tokens bpe learns, or words keeps (none: no cut); the other tokenizers' vocabularies follow from the text."""
    minimum_count: int = setting(1, at_least=1)
    """Words rarer than this in the training split are unknown (words only)."""
    lowercase: bool = setting(False)
    """Lower the case of every word (words only)."""
    unknown: UnknownName = setting("refuse")
    """What happens to a symbol that the tokenizer has never seen: refuse the text, or replace it by the unknown token."""
    split: SplitName = setting("auto")
    """published: as the corpus comes; hash: each document by its own hash; tail: the text's end; first: the first documents
    validate; sequential: documents train, test and validate in this order; auto: published if there is one, first for a corpus that
    is read only as far as data.tokens needs, else hash or tail.
    """
    valid_share: float = setting(0.1, above=0.0, below=1.0)
    """The share of the corpus that becomes the validation split, for hash, tail and sequential."""
    test_share: float = setting(0.0, at_least=0.0, below=1.0, came_later=True)
    """The share of the documents that becomes a test split, for hash and sequential; nothing is trained or chosen on it."""
    valid_documents: int = setting(1000, at_least=1, came_later=True, count=True)
    """How many of the first documents become the validation split, for first."""
    tokens: int | None = setting(None, at_least=2, count=True)
    """Train on only the first so many tokens of the training split, such as 3.3B (none: all of them). Of a catalogue corpus that is
    read in shards, and of a folder of parquet or JSONL files, only what they need is read.
    """
    order: OrderName = setting("shuffle")
    """shuffle: every window once an epoch; shifted: the same, but each epoch cuts them elsewhere; documents: each epoch joins the
    documents in another order, and then cuts them; random: with replacement.
    """
    windows: WindowsName = setting("stream", came_later=True)
    """stream: documents are joined and cut as one text; documents: each is cut by itself, or padded; cropped: each is cut to one
    window, and the rest of it left out; bucketed: the same, with documents of similar length in a batch, so that less is padded;
    packed: consecutive documents share a window while they fit in it whole.
    """
    stride: int | None = setting(None, at_least=1, came_later=True)
    """Tokens from one window of a document to the next (documents only; none: model.context, so that each token is a target once
    at most).
    """
    fresh: bool = setting(False, came_later=True)
    """With --from: train on tokens that no run before has used, each window once, whatever the order."""
    template: TemplateName = setting("none", came_later=True)
    """The corpus is conversations (Alpaca's records, or chats of messages), which this template turns into text; none: it is plain
    text.
    """
    targets: TargetsName = setting("all", came_later=True)
    """Of conversations: the loss is over all tokens but the padding, or over the assistant's responses only."""

    @property
    def by_document(self) -> bool:
        """Whether windows begin at the starts of documents, rather than anywhere in one stream."""
        return self.windows != "stream"

    @property
    def conversations(self) -> bool:
        """Whether the documents are conversations, written by a template."""
        return self.template != "none"

    @property
    def begins_documents(self) -> bool:
        """Whether each document begins with a token of its own, from which its first token is predicted.

        A conversation doesn't: its first tokens are the template's, which no model is asked to predict.
        """
        return self.by_document and not self.conversations


WORDS_NEED: dict[str, Any] = {"vocabulary": None, "minimum_count": 2, "unknown": "replace"}
"""Settings for a tokenizer of words in a recipe made for another one: every word that isn't rare, and a token for the rare
ones, which validation contains too. With the recipe's own settings, a vocabulary meant for bpe would refuse the text."""


def tokenizer_needs(data: Data, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted name that a new tokenizer in `settings` needs, as far as `settings` doesn't have them."""
    if settings.get("data.tokenizer") != "words" or data.tokenizer == "words":
        return {}
    needed = {f"data.{name}": value for name, value in WORDS_NEED.items()}
    return {name: value for name, value in needed.items() if name not in settings}
