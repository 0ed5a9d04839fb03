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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lmlab import LabError, __version__
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
from lmlab.data.finish import finish
from lmlab.data.progress import Progress, shown
from lmlab.data.scan import Scan, scan, source_pieces
from lmlab.data.sources import Source, resolve
from lmlab.data.split import SplitPlan, plan_split
from lmlab.data.token_files import Marks
from lmlab.data.tokenizers import Tokenizer, build_tokenizer, load_tokenizer
from lmlab.data.tokenizers.kinds import KINDS
from lmlab.files import FileLock, cache_folder, make_folder, read_json, remove_tree, write_json, write_shared
from lmlab.recipe import Data
from lmlab.recipe.setting import is_left_out

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
        plan = _plan_key(source, data, tokenizer)
        found = _indexed(plan, root)
        if found is None:
            waiting = f"another process is preparing {source.name}: waiting for it"
            with FileLock(lock_path(plan, root), progress.say, waiting):
                found = _indexed(plan, root) or _build(data, source, plan, root, progress, tokenizer)
        return found if data.tokens is None else view(found, data.tokens)


def prepared(data: Data, folder: Path | None = None) -> Dataset | None:
    """Return the data set that `data` describes if it exists already, else None; downloads nothing."""
    root = folder or cache_folder()
    if is_reference(data.corpus):
        return _as_asked(open_dataset(data.corpus, root), data, None)
    found = _indexed(_plan_key(resolve(data, root, fetch=False), data, None), root)
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
    if data.windows == "documents" and found.begin_of_text is None:
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
    ):  # given by the fingerprint and the rule, or not affecting a data set
        requested.pop(name, None)
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
    scanned = scan(source, data.column, root, progress)
    split = plan_split(data, source, scanned)
    work = make_folder(work_folder(plan, root))
    texts = _without_skipped(source, scanned)
    tokenizer = _tokenizer(data, texts, scanned, split, work, progress, given)
    marks = _marks(data, scanned, tokenizer)
    identity = _data_id(scanned, split, tokenizer, marks)
    made = made_already(identity, root)
    if made is None:
        if not (work / shape.NAME).exists():
            stream = source_pieces(texts, data.column, f"encoding {source.name}", progress)
            encode(stream, split, tokenizer, marks, scanned.characters, work)
            facts = {**_facts(data, source, scanned, split, tokenizer, marks), "id": identity}
            finish(work, facts, texts, data.column, scanned, split, tokenizer, progress)
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
        tokenizer = build_tokenizer(data, texts, documents_end=_are_marked(data, scanned))
    write_json(path, tokenizer.to_json())
    return tokenizer


def _are_marked(data: Data, scanned: Scan) -> bool:
    """Return whether a token marks the ends of documents: if there are several, or each is cut separately."""
    return scanned.documents > 1 or data.windows == "documents"


def _marks(data: Data, scanned: Scan, tokenizer: Tokenizer) -> Marks:
    """Return the tokens around each document; raises LabError if they are required and the tokenizer has none."""
    if data.windows == "documents" and tokenizer.begin_of_text is None:
        raise LabError(
            f"the {tokenizer.name} tokenizer has no token that begins and ends documents, because its corpus was one document: "
            "expected --data.windows stream"
        )
    return Marks(
        begin=tokenizer.begin_of_text if data.windows == "documents" else None,
        end=tokenizer.end_of_text if _are_marked(data, scanned) else None,
    )


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


def _data_id(scanned: Scan, split: SplitPlan, tokenizer: Tokenizer, marks: Marks) -> str:
    begun = [] if marks.begin is None else ["each document begins with a token"]
    return digest([shape.FORMAT, scanned.text_sha256, split.identity(), tokenizer.to_json(), *begun])[:16]


def _facts(
    data: Data, source: Source, scanned: Scan, split: SplitPlan, tokenizer: Tokenizer, marks: Marks
) -> dict[str, Any]:
    """Return the manifest's fields other than counts and files, which `finish` adds."""
    paths = {file.path: file for file in source.files}
    listed = [
        {"name": file.path.name if file.member else file.name, "sha256": source.hashes[path]}
        for path, file in paths.items()
    ]
    return {
        "format": shape.FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "lmlab": __version__,
        "corpus": {
            "name": source.name,
            "given": source.given,
            "text_sha256": scanned.text_sha256,
            "documents": scanned.documents,
            "characters": scanned.characters,
            "bytes": scanned.bytes,
            "alphabet": len(scanned.alphabet),
            "documents_rule": source.rule if any(file.kind == "text" for file in source.files) else "records",
            "column": data.column if any(file.kind != "text" for file in source.files) else None,
            "empty_documents": scanned.empty_documents,
            "minimum_words": source.minimum_words,
            "short_documents": scanned.short_documents,
            "forced_cuts": scanned.forced_cuts,
            "skipped_files": list(scanned.skipped_files)[:1000],
            "skipped_bytes": scanned.skipped_bytes,
            "carriage_returns": "\r" in scanned.alphabet,
            "newlines": source.newlines,
            "left_out_files": list(source.left_out)[:1000],
            "files": len(paths),
            "sources": listed[:1000],
            "sources_sha256": digest(source.fingerprint()),
        },
        "split": {
            "asked": data.split,
            "rule": split.rule,
            "valid_share": split.share,
            "cut_characters": split.cut_characters or None,
        },
        "tokenizer": {
            "name": tokenizer.name,
            "vocabulary": tokenizer.vocabulary_size,
            "lossless": tokenizer.lossless,
            "begin_of_text": marks.begin,
            "end_of_text": marks.end,
            "sha256": digest(tokenizer.to_json()),
        },
    }


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
