"""Building the data set of a corpus of conversations: as of any other, and a mark for each token that the model writes.

    read -> split -> tokens, responses -> units -> manifest -> rename

A conversation is a document, and a unit that losses are compared by. `responses-SPLIT.bin` has a byte for each token, 1 where it is
part of an answer (its end included). The loss is over all tokens or over those, as `data.targets` states when the data set is read,
so that both are one data set. The files are read whole, so memory holds all of the text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from lmlab.data import manifest as shape
from lmlab.data.building import digest, made_already, publish, remove_stale, work_folder
from lmlab.data.dataset import Dataset
from lmlab.data.encode import EncodingJournal
from lmlab.data.facts import facts_of
from lmlab.data.finish import finish
from lmlab.data.instructions.encoding import encoded_conversations, require_end
from lmlab.data.instructions.records import Conversation, Conversations, conversations_in
from lmlab.data.progress import Progress
from lmlab.data.scan import DOCUMENT, PARTS, Scan
from lmlab.data.sources import Source
from lmlab.data.split import SPLITS, SplitPlan, plan_split
from lmlab.data.token_files import Marks, starts_file, token_type, tokens_file
from lmlab.data.tokenizers import Tokenizer, build_tokenizer
from lmlab.data.tokenizers.kinds import KINDS
from lmlab.files import make_folder, new_file, remove_tree, write_json
from lmlab.recipe import Data
from lmlab.recipe.template import Template, template_named

ENCODED_AT_ONCE = 1024
"""Conversations."""


def build_conversations(
    data: Data, source: Source, plan: str, root: Path, progress: Progress, given: Tokenizer | None
) -> Dataset:
    """Return the data set of `data`'s conversations, built now if it doesn't exist; the caller holds the plan's lock.

    `given` is the tokenizer of the model that will read it; None: the one that `data` describes. Raises LabError for files that
    aren't conversations, and for a tokenizer without an end of text.
    """
    template = template_named(data.template)
    read, parts = _read(source, progress)
    texts = ["".join(segment.text for segment in template.segments(one.messages)) for one in read]
    scanned = _scan(texts, parts)
    split = plan_split(data, source, scanned, whole=True)
    tokenizer = given or _tokenizer(data, texts, scanned, split)
    end = require_end(tokenizer, template)
    identity = _identity(read, split, tokenizer, template, parts)
    made = made_already(identity, root)
    if made is not None:
        return made
    work = make_folder(work_folder(plan, root))
    remove_tree(work)  # what a killed process left: conversations are few enough to begin again
    make_folder(work)
    write_json(work / shape.TOKENIZER, tokenizer.to_json())
    journal = _encode(work, read, split, tokenizer, template, progress)
    facts = facts_of(data, source, scanned, split, tokenizer, Marks(begin=None, end=end))
    facts["corpus"] = {**facts["corpus"], "documents_rule": "conversations", "column": None}
    facts["conversations"] = {
        "template": template.name,
        "unanswered": read.unanswered,
        "several_turns": sum(sum(message.role == "user" for message in one.messages) > 1 for one in read),
    }
    finish(work, {**facts, "id": identity}, source, "", scanned, split, tokenizer, journal.tokens, progress)
    made = publish(work, f"{source.name}-{identity}", root)
    remove_stale(root)
    return made


def _read(source: Source, progress: Progress) -> tuple[Conversations, list[int]]:
    """Return the conversations of all files, and for each an index into PARTS."""
    kept: list[Conversation] = []
    parts: list[int] = []
    unanswered = 0
    for file in source.files:
        found = conversations_in(file, progress)
        kept += found.kept
        parts += [PARTS.index(file.part)] * len(found)
        unanswered += found.unanswered
    return Conversations(kept=tuple(kept), unanswered=unanswered), parts


def _scan(texts: list[str], parts: list[int]) -> Scan:
    """Return what a scan of plain text finds, from the rendered conversations."""
    rows = np.empty(len(texts), DOCUMENT)
    over_all, alphabet = hashlib.sha256(), set[str]()
    for number, (text, part) in enumerate(zip(texts, parts, strict=True)):
        encoded = text.encode("utf-8", "surrogatepass")
        key = hashlib.sha256(encoded).digest()
        rows[number] = (key, len(encoded), len(text), part)
        over_all.update(key + bytes([part]))
        alphabet.update(text)
    return Scan(
        rows=rows,
        text_sha256=over_all.hexdigest(),
        documents=len(texts),
        characters=int(rows["characters"].sum()),
        bytes=int(rows["bytes"].sum()),
        alphabet="".join(sorted(alphabet)),
        empty_documents=0,
        short_documents=0,
        forced_cuts=0,
        skipped_files=(),
        skipped_bytes=0,
    )


def _tokenizer(data: Data, texts: list[str], scanned: Scan, split: SplitPlan) -> Tokenizer:
    if not KINDS[data.tokenizer].reads_text:
        return build_tokenizer(data, [scanned.alphabet], documents_end=True)
    training = (text for text, index in zip(texts, split.of, strict=True) if index == 0)
    return build_tokenizer(data, training, documents_end=True)


def _identity(read: Conversations, split: SplitPlan, tokenizer: Tokenizer, template: Template, parts: list[int]) -> str:
    """Return the data set's id: a hash of the conversations, the template's strings, the split and the tokenizer."""
    said = hashlib.sha256()
    for one, part in zip(read, parts, strict=True):
        turns = [part, *([message.role, message.content, message.input] for message in one.messages)]
        said.update(json.dumps(turns).encode() + b"\n")
    strings = dataclasses.asdict(template)
    return digest([shape.FORMAT, "conversations", said.hexdigest(), strings, split.identity(), tokenizer.to_json()])[
        :16
    ]


def _encode(
    work: Path, read: Conversations, split: SplitPlan, tokenizer: Tokenizer, template: Template, progress: Progress
) -> EncodingJournal:
    """Write tokens, responses and the first token of each conversation of every split; return the counts."""
    progress.begin("encoding conversations", len(read), "conversations")
    journal = EncodingJournal(pieces=len(read), done=True)
    kind = token_type(tokenizer.vocabulary_size)
    for index, name in enumerate(SPLITS):
        own = [one.messages for one, of in zip(read, split.of, strict=True) if of == index]
        starts = []
        with new_file(work / tokens_file(name)) as tokens, new_file(work / shape.responses_file(name)) as responses:
            for first in range(0, len(own), ENCODED_AT_ONCE):
                some = own[first : first + ENCODED_AT_ONCE]
                for encoded in encoded_conversations(tokenizer, template, some):
                    starts.append(journal.tokens[index])
                    tokens.write(encoded.ids.astype(kind).tobytes())
                    responses.write(encoded.response.astype(np.uint8).tobytes())
                    journal.tokens[index] += len(encoded.ids)
                progress.advance(len(some))
        with new_file(work / starts_file(name)) as file:
            file.write(np.array(starts, dtype="<i8").tobytes())
        journal.documents[index] = len(own)
    return journal
