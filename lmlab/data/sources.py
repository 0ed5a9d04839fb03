"""Resolving `data.corpus` to files: a catalogue name, a file, a folder, a zip archive or standard input.

In a folder (or archive) every file that isn't hidden counts, in the order of the relative paths: JSONL and parquet by
their ending, everything else as text. Files named after the parts of a split (`train.txt`, `wiki.valid.raw`,
`test-00000-of-00002.parquet`, or folders of these names) are a published split if there is a train and a valid part;
without a valid part, the test part is the validation split.
A local copy of a catalogue corpus is recognised by its SHA-256 and treated like the catalogue's own.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import os
import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lmlab import LabError
from lmlab.data.cache import file_hashes
from lmlab.data.catalogue import CATALOGUE
from lmlab.data.catalogue_entry import CatalogueEntry
from lmlab.data.documents import rule_of
from lmlab.data.download import download
from lmlab.data.progress import Progress, Silent
from lmlab.data.readers import ZIP_DAMAGE, SourceFile, describe_name, size_on_disk
from lmlab.data.shards.hub import HubFile, address_of, hub_files
from lmlab.data.stdlib import stdlib_files
from lmlab.files import cache_folder, flush_folder, make_folder, remove_dead, temporary_folder
from lmlab.recipe import Data
from lmlab.recipe.data import NewlinesName

PARTS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}
PART_NAME = re.compile(r"(?:^|[-_./])(" + "|".join(PARTS) + r")(?=[-_./]|$)", re.IGNORECASE)
PART_ENDINGS = ("txt", "text", "raw", "tokens")
"""Text files with these extensions may be a part of a split; train.py is a program."""

SPOOL_BLOCK = 1 << 20
DRAFT = ".spooled-"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A corpus on this machine: its files, the rule that divides them into documents, and its published split."""

    given: str
    """The value of `data.corpus`."""
    name: str
    """A short name for file names."""
    files: tuple[SourceFile, ...]
    hashes: dict[Path, str]
    """SHA-256 of each file on the disk."""
    rule: str
    """The rule that divides a text into documents (lmlab.data.documents)."""
    published: str = ""
    """parts, tail or empty, as in the catalogue."""
    published_share: float = 0.0
    entry: str = ""
    """Its name in the catalogue, or empty."""
    skip_undecodable: bool = False
    """Whether text files that aren't UTF-8, such as images beside the texts, are skipped."""
    left_out: tuple[str, ...] = ()
    """Files of the folder that belong to no part of its published split."""
    minimum_words: int = 0
    """Documents with fewer words are left out."""
    newlines: NewlinesName = "keep"
    in_shards: bool = False
    """Whether it is read from its beginning and only as far as needed (`lmlab.data.shards`): its files aren't hashed whole then."""

    @property
    def title(self) -> str:
        """Its name in messages."""
        return "standard input" if self.given == "-" else self.given

    def fingerprint(self) -> list[list[str]]:
        """Return everything that determines the text: a row for each file."""
        return [[file.part, file.kind, file.packing, file.member, self._mark(file)] for file in self.files]

    def _mark(self, file: SourceFile) -> str:
        """Return what identifies a file: its SHA-256, or of one that may be read in part its name and size."""
        return self.hashes.get(file.path) or f"{file.name}:{size_on_disk(file)}"


def resolve(data: Data, root: Path | None = None, progress: Progress | None = None, fetch: bool = True) -> Source:
    """Return the corpus that `data` names with every file hashed, downloading it if necessary (without `fetch`: raises
    LabError).
    """
    root = root or cache_folder()
    progress = progress or Silent()
    entry = CATALOGUE.get(data.corpus)
    if entry is not None and entry.hub is not None:
        found = _of_hub(entry, hub_files(entry, root, progress, fetch))
    elif entry is not None:
        found = _stdlib(entry) if not entry.files else _catalogue_copy(entry, root, progress, fetch)
    elif data.corpus == "-":
        found = _of_path(_spooled(root), "-", "stdin")
    else:
        path = Path(data.corpus).expanduser()
        if not os.path.exists(path):  # also False for an invalid file name
            raise LabError(_no_such_corpus(data.corpus))
        found = _of_path(path, data.corpus, _slug(path))
    found = _choose_parts(found, data)
    if _is_read_in_shards(found, data):
        found = dataclasses.replace(found, in_shards=True)
    else:
        hashes = file_hashes([file.path for file in found.files], corpus_key(data), root, progress)
        found = dataclasses.replace(found, hashes=hashes)
        found = _recognised(found) if entry is None else found
    return dataclasses.replace(
        found, rule=rule_of(data.separator, found.rule), minimum_words=data.minimum_words, newlines=data.newlines
    )


def corpus_key(data: Data) -> str:
    """Return what identifies the corpus on this machine: its path, or its name in the catalogue."""
    return data.corpus if data.corpus in CATALOGUE else str(Path(data.corpus).expanduser().absolute())


def _is_read_in_shards(source: Source, data: Data) -> bool:
    """Return whether a corpus is read only as far as it is needed: one of the hub, or files of records whose first documents
    validate, or several of them with a budget of tokens.
    """
    if data.conversations:
        if any(file.address for file in source.files):
            raise LabError(
                f"{source.given} is read as plain text: download its files for data.template {data.template}, and name those"
            )
        return False
    if any(file.address for file in source.files):
        allowed = ("auto", "published") if source.published else ("auto", "first")
        if data.split not in allowed:
            raise LabError(
                f"data.split can't be {data.split}, since {source.given} is read only as far as needed: expected "
                f"{' or '.join(allowed)}"
            )
        return True
    if any(file.kind == "text" for file in source.files):
        return False
    several = data.tokens is not None and len(source.files) > 1
    return data.split == "first" or (several and data.split in ("auto", "published"))


def _of_hub(entry: CatalogueEntry, listed: tuple[HubFile, ...]) -> Source:
    """Return a corpus on the hub, with the SHA-256 of its files where the hub states them."""
    hub = entry.hub
    assert hub is not None
    files = [
        SourceFile(
            name=file.path,
            path=Path(file.path),
            kind="parquet",
            part=part_of(file.path.rpartition("/")[2]) if entry.published == "parts" else "",
            address=address_of(hub, file.path),
            remote_bytes=file.bytes,
        )
        for file in listed
    ]
    return Source(
        given=entry.name,
        name=entry.name,
        files=tuple(files),
        hashes={Path(file.path): file.sha256 for file in listed if file.sha256 is not None},
        rule=entry.documents,
        published=entry.published,
        entry=entry.name,
    )


def _stdlib(entry: CatalogueEntry) -> Source:
    files = tuple(SourceFile(name=name, path=path) for name, path in stdlib_files())
    return Source(
        given=entry.name,
        name=entry.name,
        files=files,
        hashes={},
        rule=entry.documents,
        entry=entry.name,
        skip_undecodable=True,
    )


def _catalogue_copy(entry: CatalogueEntry, root: Path, progress: Progress, fetch: bool) -> Source:
    paths = []
    for file in entry.files:
        target = root / "corpora" / entry.name / file.name
        if not target.exists() and not fetch:
            raise LabError(f"{entry.name} is not downloaded yet: lmlab data prepare {entry.name}")
        advice = _advice(entry)
        paths.append(
            download(file.addresses, target, sha256=file.sha256, size=file.bytes, progress=progress, advice=advice)
        )
    return _of_entry(entry, paths, entry.name)


def _advice(entry: CatalogueEntry) -> str:
    if len(entry.files) == 1:
        return "or name a copy of it with --data.corpus FILE"
    return f"or name a folder that holds {' and '.join(file.name for file in entry.files)} with --data.corpus FOLDER"


def _of_entry(entry: CatalogueEntry, paths: list[Path], given: str) -> Source:
    """Return the catalogue's corpus with its files, in the catalogue's order, at these paths."""
    files = tuple(
        SourceFile(name=member or file.name, path=path, member=member, part=part)
        for file, path in zip(entry.files, paths, strict=True)
        for member, part in file.members
    )
    return Source(
        given=given,
        name=entry.name,
        files=files,
        hashes={},
        rule=entry.documents,
        published=entry.published,
        published_share=entry.published_share,
        entry=entry.name,
    )


def _recognised(source: Source) -> Source:
    """Return the catalogue's description of the files if their hashes are a catalogue corpus's, else the source unchanged."""
    paths = {digest: path for path, digest in source.hashes.items()}
    for entry in CATALOGUE.values():
        if entry.files and {file.sha256 for file in entry.files} == set(paths):
            copy = _of_entry(entry, [paths[file.sha256] for file in entry.files], source.given)
            return dataclasses.replace(copy, hashes=source.hashes)
    return source


def _of_path(path: Path, given: str, name: str) -> Source:
    if path.is_dir():
        files = tuple(_file(place.relative_to(path).as_posix(), place) for place in _visible(path))
        if not files:
            raise LabError(f"{path} has no files: expected a folder of text, JSONL or parquet files")
    elif path.name.lower().endswith(".zip"):
        files = tuple(_file(member, path, member) for member in _members(path))
    else:
        return Source(given=given, name=name, files=(_file(path.name, path),), hashes={}, rule="marker")
    return Source(given=given, name=name, files=files, hashes={}, rule="marker", skip_undecodable=True)


def _file(name: str, path: Path, member: str = "") -> SourceFile:
    kind, packing = describe_name(name)
    return SourceFile(name=name, path=path, member=member, kind=kind, packing=packing)


def _visible(folder: Path) -> list[Path]:
    """Return the folder's files at any depth, except hidden ones and compiled Python, sorted by relative path."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        found += [Path(place, name) for name in names if not name.startswith(".") and Path(place, name).is_file()]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            # Skip entries without a name; zipfile's is_dir fails on them before Python 3.12.
            names = [name for name in archive.namelist() if name and not name.endswith("/")]
    except ZIP_DAMAGE as error:
        raise LabError(f"{path} can't be read as a zip archive ({error})") from None
    names = sorted(name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.split("/")))
    if not names:
        raise LabError(f"{path} has no files in it: expected text, JSONL or parquet")
    return names


def part_of(name: str) -> str:
    """Return train, valid or test from a file's name (its last such word), else an empty string.

    >>> part_of("wiki.valid.raw"), part_of("train-00000-of-00004.parquet"), part_of("train.py"), part_of("contest.txt")
    ('valid', 'train', '', '')
    """
    words = PART_NAME.findall(name)
    kind, packing = describe_name(name)
    ending = name.lower().removesuffix(f".{packing}").rpartition(".")[2]
    return PARTS[words[-1].lower()] if words and (kind != "text" or ending in PART_ENDINGS) else ""


def _choose_parts(source: Source, data: Data) -> Source:
    """Return the source with its files' parts, if a published split is wanted and the names form one."""
    if source.entry or data.split not in ("auto", "published"):
        return source
    parts = [part_of(file.name) for file in source.files]
    if "valid" not in parts:
        parts = ["valid" if part == "test" else part for part in parts]
    if not {"train", "valid"} <= set(parts):
        return source
    named = tuple(dataclasses.replace(file, part=part) for file, part in zip(source.files, parts, strict=True) if part)
    left_out = tuple(file.name for file, part in zip(source.files, parts, strict=True) if not part)
    return dataclasses.replace(source, files=named, left_out=left_out, published="parts")


_spool_of_this_process: dict[Path, Path] = {}


def _spooled(root: Path) -> Path:
    """Return standard input as a file named by its SHA-256, since it can be read only once but several passes need it."""
    if root in _spool_of_this_process:
        return _spool_of_this_process[root]
    folder = make_folder(root / "stdin")
    remove_dead(folder, DRAFT)
    digest = hashlib.sha256()
    with temporary_folder(folder, DRAFT) as work:
        with open(work.path / "text", "wb") as file:
            while block := sys.stdin.buffer.read(SPOOL_BLOCK):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        target = folder / f"{digest.hexdigest()}.txt"
        os.replace(work.path / "text", target)
    flush_folder(folder)
    _spool_of_this_process[root] = target
    return target


def _slug(path: Path) -> str:
    """Return a short name for folders and runs: `My Book.txt.xz` becomes my-book."""
    name = path.resolve().name.lower()
    for _ in range(2):
        stem, dot, ending = name.rpartition(".")
        name = stem if dot and stem and len(ending) <= 7 else name
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")[:40].strip("-") or "corpus"


def _no_such_corpus(name: str) -> str:
    close = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f"did you mean {close[0]}?" if close else f"expected a file, a folder, - or one of {', '.join(CATALOGUE)}"
    return f"there is no corpus '{name[:200]}' here: {hint}"
