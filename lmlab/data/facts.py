"""What identifies a data set, and the fields of its manifest other than counts and files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lmlab import LabError, __version__
from lmlab.data import manifest as shape
from lmlab.data.building import digest
from lmlab.data.dataset import Dataset
from lmlab.data.scan import Scan
from lmlab.data.sources import Source
from lmlab.data.split import SplitPlan
from lmlab.data.token_files import Marks, tokens_file
from lmlab.data.tokenizers import Tokenizer
from lmlab.recipe import Data


def are_marked(data: Data, documents: int) -> bool:
    """Return whether a token marks the ends of documents: if there are several, or each is cut separately."""
    return documents > 1 or data.begins_documents


def marks_of(data: Data, documents: int, tokenizer: Tokenizer) -> Marks:
    """Return the tokens around each document; raises LabError if they are required and the tokenizer has none."""
    if data.begins_documents and tokenizer.begin_of_text is None:
        raise LabError(
            f"the {tokenizer.name} tokenizer has no token that begins and ends documents, because its corpus was one document: "
            "expected --data.windows stream"
        )
    return Marks(
        begin=tokenizer.begin_of_text if data.begins_documents else None,
        end=tokenizer.end_of_text if are_marked(data, documents) else None,
    )


def data_id(text_sha256: str, split: list[object], tokenizer: Tokenizer, begin: int | None) -> str:
    """Return a data set's id: a hash of the text, of what determines its split, and of the tokenizer.

    `begin` is the token that begins each document, None for none.
    """
    begun = [] if begin is None else ["each document begins with a token"]
    return digest([shape.FORMAT, text_sha256, split, tokenizer.to_json(), *begun])[:16]


def _divides(source: Source) -> bool:
    """Return whether the source's rule divides its files into documents, which otherwise are records."""
    return source.rule == "articles" or any(file.kind == "text" for file in source.files)


def facts_of(
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
            "documents_rule": source.rule if _divides(source) else "records",
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
            "valid_documents": split.valid_documents or None,
            **({"test_share": split.test_share} if split.test_share else {}),
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


def as_extended(old: Dataset) -> list[dict[str, Any]]:
    """Return the manifest's list of the data sets that another one's tokens begin with, if they begin with those of `old`: `old`
    first, then those that it extends itself.
    """
    splits = {
        name: {
            "tokens": entry["tokens"],
            "documents": entry["documents"],
            "sha256": old.manifest["files"][tokens_file(name)]["sha256"],
        }
        for name, entry in old.facts["splits"].items()
    }
    return [{"id": old.id, "splits": splits}, *old.facts.get("extends", [])]
