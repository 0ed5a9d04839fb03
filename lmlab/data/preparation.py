"""Preparing a data set from a corpus. The result is cached: the same corpus and settings return the existing data set.

    resolve -> scan -> split -> tokenizer -> tokens -> units -> manifest -> rename
    sources    scan    split    tokenizers   encode    units    manifest

Everything is built in a hidden work folder that is renamed to its final name at the end, so a data set exists
whole or not at all. A killed process leaves the work folder; the next one continues from its last finished step or
shard. The name ends with the data's id: a hash of the text, the tokenizer and the split only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from lmlab import LabError
from lmlab.data import manifest as shape
from lmlab.data.building import (
    digest,
    lock_path,
    made_already,
    publish,
    remove_stale,
    system_errors_in_one_line,
    work_folder,
)
from lmlab.data.dataset import Dataset, datasets_folder, is_reference, open_dataset
from lmlab.data.encode import encode
from lmlab.data.facts import are_marked, data_id, facts_of, marks_of
from lmlab.data.finish import finish
from lmlab.data.instructions.preparing import build_conversations
from lmlab.data.progress import Progress, Silent, shown
from lmlab.data.scan import Scan, scan, source_pieces
from lmlab.data.shards.preparing import planned_shards, prepare_shards, prepared_shards
from lmlab.data.shards.request import request_of
from lmlab.data.sources import Source, resolve
from lmlab.data.split import SplitPlan, plan_split
from lmlab.data.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from lmlab.data.tokenizers.kinds import KINDS
from lmlab.files import FileLock, cache_folder, make_folder, read_json, remove_tree, write_json, write_shared
from lmlab.recipe import Data
from lmlab.recipe.setting import is_left_out
from lmlab.recipe.template import template_named

LARGEST_INDEX = 1 << 16
"""Size limit, in bytes, of the file that maps a plan to its data set."""


def prepare(
    data: Data, folder: Path | None = None, progress: Progress | None = None, tokenizer: Tokenizer | None = None
) -> Dataset:
    """Return the data set that `data` describes, preparing it if it doesn't exist yet.

    `data.corpus` may be the id or the folder of an existing data set, whose tokens are used as they are. `folder` replaces
    the cache folder. `tokenizer` replaces the one built by `data`'s settings, such as a model's own, to read
    another text with. Raises LabError for a corpus that is unavailable or can't be read, split or encoded.
    """
    root = make_folder(folder or cache_folder())
    with system_errors_in_one_line(), shown(progress) as progress:
        if is_reference(data.corpus):
            return _as_asked(open_dataset(data.corpus, root), data, tokenizer)
        source = resolve(data, root, progress)
        if source.in_shards:
            return prepare_shards(request_of(data, source, root, progress, tokenizer))
        plan = _plan_key(source, data, tokenizer)
        found = _indexed(plan, root)
        if found is None:
            waiting = f"another process is preparing {source.name}: waiting for it"
            with FileLock(lock_path(plan, root), progress.say, waiting):
                found = _indexed(plan, root) or _build(data, source, plan, root, progress, tokenizer)
        return found if data.tokens is None else view(found, data.tokens)


def planned(data: Data, folder: Path | None = None, progress: Progress | None = None) -> Dataset:
    """Return the data set for a plan: as `prepare` does, but of one that takes long to prepare a `Beginning` of it."""
    if not is_reference(data.corpus):
        root = make_folder(folder or cache_folder())
        with system_errors_in_one_line(), shown(progress) as shows:
            source = resolve(data, root, shows)
            if source.in_shards:
                return planned_shards(request_of(data, source, root, shows))
    return prepare(data, folder, progress)


def prepared(data: Data, folder: Path | None = None) -> Dataset | None:
    """Return the data set that `data` describes if it exists already, else None; downloads nothing."""
    root = folder or cache_folder()
    if is_reference(data.corpus):
        return _as_asked(open_dataset(data.corpus, root), data, None)
    source = resolve(data, root, fetch=False)
    if source.in_shards:
        return prepared_shards(request_of(data, source, root, Silent()))
    found = _indexed(_plan_key(source, data, None), root)
    return found if found is None or data.tokens is None else view(found, data.tokens)


def _as_asked(found: Dataset, data: Data, tokenizer: Tokenizer | None) -> Dataset:
    """Return a data set that `data` names directly, cut to `data.tokens`; raises LabError if its tokens don't match the
    settings.
    """
    name = found.facts["tokenizer"]["name"]
    if tokenizer is not None and found.facts["tokenizer"]["sha256"] != digest(tokenizer.to_json()):
        raise LabError(f"data set {found.id} was made with another tokenizer than the model's: give its text instead")
    if tokenizer is None and name != data.tokenizer:
        raise LabError(f"data set {found.id} was prepared with another tokenizer: expected --data.tokenizer {name}")
    template = (found.conversations or {}).get("template", "none")
    if template != data.template:
        raise LabError(
            f"data set {found.id} was prepared with data.template {template}: expected --data.template {template}, or its text in "
            "place of the data set"
        )
    if data.begins_documents and found.begin_of_text is None:
        raise LabError(
            f"data set {found.id} was prepared as one stream, without a token that begins each document: expected --data.windows "
            "stream, or its text in place of the data set"
        )
    return found if data.tokens is None else view(found, data.tokens)


def _plan_key(source: Source, data: Data, tokenizer: Tokenizer | None) -> str:
    """Return a hash of all settings, computed from the files' hashes before the text is read."""
    fields = ((entry, getattr(data, entry.name)) for entry in dataclasses.fields(data))
    requested = {entry.name: value for entry, value in fields if not is_left_out(entry, value)}
    for name in (
        "corpus",
        "separator",
        "tokens",
        "order",
        "stride",
        "fresh",
        "targets",
    ):  # given by the fingerprint and the rule, or not affecting a data set
        requested.pop(name, None)
    if data.conversations:
        requested.pop("windows", None)
        requested["template"] = dataclasses.asdict(template_named(data.template))
    if data.begins_documents:
        requested["windows"] = "documents"  # the same data set for every way to cut them
    given = None if tokenizer is None else tokenizer.to_json()
    return digest(
        [shape.FORMAT, source.fingerprint(), source.rule, source.published, source.published_share, requested, given]
    )[:32]


def _index_path(plan: str, root: Path) -> Path:
    return root / "prepared" / f"{plan}.json"


def _indexed(plan: str, root: Path) -> Dataset | None:
    """Return the data set prepared for this plan earlier, if it still exists intact."""
    try:
        name = read_json(_index_path(plan, root), LARGEST_INDEX)["folder"]
        return open_dataset(datasets_folder(root) / name) if shape.FOLDER.fullmatch(name) else None
    except (LabError, KeyError, TypeError):
        return None


def _build(data: Data, source: Source, plan: str, root: Path, progress: Progress, given: Tokenizer | None) -> Dataset:
    """Build the data set, or continue building it; the caller holds the plan's lock."""
    if data.conversations:
        found = build_conversations(data, source, plan, root, progress, given)
        write_shared(_index_path(plan, root), {"folder": found.folder.name})
        return found
    scanned = scan(source, data.column, root, progress)
    split = plan_split(data, source, scanned)
    work = make_folder(work_folder(plan, root))
    texts = _without_skipped(source, scanned)
    tokenizer = _tokenizer(data, texts, scanned, split, work, progress, given)
    marks = marks_of(data, scanned.documents, tokenizer)
    identity = data_id(scanned.text_sha256, split.identity(), tokenizer, marks.begin)
    made = made_already(identity, root)
    if made is None:
        if not (work / shape.NAME).exists():
            stream = source_pieces(texts, data.column, f"encoding {source.name}", progress)
            journal = encode(stream, split, tokenizer, marks, scanned.characters, work)
            facts = {**facts_of(data, source, scanned, split, tokenizer, marks), "id": identity}
            finish(work, facts, texts, data.column, scanned, split, tokenizer, journal.tokens, progress)
        made = publish(work, f"{source.name}-{identity}", root)
    else:
        remove_tree(work)
    write_shared(_index_path(plan, root), {"folder": made.folder.name})
    remove_stale(root)
    return made


def _without_skipped(source: Source, scanned: Scan) -> Source:
    """Return the source without the files that the scan skipped, so that no later pass tries to decode them."""
    files = tuple(file for file in source.files if file.name not in scanned.skipped_files)
    return dataclasses.replace(source, files=files, skip_undecodable=False)


def _tokenizer(
    data: Data, source: Source, scanned: Scan, split: SplitPlan, work: Path, progress: Progress, given: Tokenizer | None
) -> Tokenizer:
    """Return the given tokenizer, or the one that an earlier attempt left in the work folder, or a new one."""
    path = work / shape.TOKENIZER
    if given is None and path.exists():
        return load_tokenizer(read_json(path))
    tokenizer = given
    if tokenizer is None:
        texts = _training_texts(data, source, scanned, split, progress)
        tokenizer = build_tokenizer(data, texts, documents_end=are_marked(data, scanned.documents))
    write_json(path, tokenizer.to_json())
    return tokenizer


def _training_texts(data: Data, source: Source, scanned: Scan, split: SplitPlan, progress: Progress) -> Iterator[str]:
    """Yield the text that a tokenizer learns from: the training split, or the corpus's alphabet."""
    if not KINDS[data.tokenizer].reads_text:
        yield scanned.alphabet
        return
    document = at = 0
    for piece in source_pieces(source, data.column, f"training the tokenizer on {source.name}", progress):
        if document == split.cut_document:
            yield piece.text[: max(0, split.cut_characters - at)]
        elif split.of[document] == 0:
            yield piece.text
        at += len(piece.text)
        if piece.last:
            document, at = document + 1, 0


def view(base: Dataset, tokens: int) -> Dataset:
    """Return `base` with only the first `tokens` training tokens: a folder with a manifest that points to it."""
    have = len(base.tokens("train"))
    if tokens > have:
        raise LabError(
            f"data.tokens {tokens:,} is more than the {have:,} tokens of the training split: expected at most those"
        )
    if tokens == have:
        return base
    base = base.whole
    identity = digest([base.id, tokens])[:16]
    folder = base.folder.with_name(f"{base.folder.name.removesuffix(base.id)}{identity}")
    if not (folder / shape.NAME).exists():
        make_folder(folder)
        write_json(
            folder / shape.NAME,
            {"format": shape.FORMAT, "id": identity, "view_of": base.folder.name, "train_tokens": tokens},
        )
    return open_dataset(folder)
