"""Splitting documents into training and validation.

- `published`: as the corpus comes (its parts, or the tail that its publishers use).
- `hash`: by the document's own SHA-256, so that adding documents never moves another between training and validation,
  and equal documents are always in the same split.
- `tail`: the last part of the text, by characters. If the border is inside the only possible validation document, it is cut
  there (int((1 - share) * characters) characters train, as in nanoGPT); otherwise the document across the border trains.
- `first`: the first documents of the corpus, in its order. The only rule that needs no document but those before the border, so
  that a corpus that is read in part (`lmlab.data.shards`) has the same validation split however much of it is read.
- `sequential`: in the corpus's order the first documents train, the next ones are the test split, and the last ones validate. The
  counts are int(n (1 - valid - test)), int(n test) and the rest, as in "Build a Large Language Model (From Scratch)", ch. 7.
- `auto`: published if the corpus has one, first if it is read in part, hash for at least FEWEST_FOR_HASH documents, else tail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmlab import LabError
from lmlab.data.scan import PARTS, ROWS_A_TIME, Scan
from lmlab.data.sources import Source
from lmlab.recipe import Data

FEWEST_FOR_HASH = 50
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """The split of every document."""

    rule: str
    """parts, hash, tail, first or sequential."""
    share: float
    """Share of the corpus in the validation split; 0 for parts and first."""
    of: np.ndarray
    """uint8 for each document: an index into SPLITS."""
    cut_document: int = -1
    """The document that the border cuts (it begins in train and ends in valid), or -1."""
    cut_characters: int = 0
    """Number of its characters in train."""
    valid_documents: int = 0
    """How many of the first documents validate, for first."""
    test_share: float = 0.0
    """Share of the documents in the test split, for hash and sequential."""

    def identity(self) -> list[object]:
        """Return what determines the data in the plan, besides the documents themselves."""
        tested: list[object] = [self.test_share] if self.test_share else []
        return [self.rule, self.valid_documents if self.rule == "first" else self.share, *tested]


def plan_split(data: Data, source: Source, scan: Scan, *, whole: bool = False) -> SplitPlan:
    """Return the split for `data`; raises LabError if the corpus can't be split that way.

    With `whole` no document is cut, as conversations can't be: where the border would be within the last one, that one
    validates.
    """
    plan = _plan(data, source, scan)
    if whole and plan.cut_document >= 0:
        if scan.documents == 1:
            raise LabError(
                f"{source.title} has a single conversation, which can't be cut: expected 2 or more, to train and to validate"
            )
        plan = SplitPlan(
            rule=plan.rule, share=plan.share, of=(np.arange(scan.documents) == plan.cut_document).astype(np.uint8)
        )
    require_used(data, plan.rule, source)
    present = set(np.unique(plan.of)) | ({0, 1} if plan.cut_document >= 0 else set())
    for index, name in ((0, "training"), (1, "validation")):
        if index not in present:
            raise LabError(
                f"the {name} split of {source.title} would be empty (data.split {data.split}, "
                f"{scan.documents:,} documents): choose another {_amount(plan)}, or data.split tail"
            )
    return plan


def require_used(data: Data, rule: str, source: Source) -> None:
    """Raise LabError for a number of validation documents with a split by another rule, which would ignore it."""
    if rule != "first" and data.valid_documents != Data().valid_documents:
        has = "has a published split" if rule == "parts" else f"is split by {rule}"
        raise LabError(
            f"data.valid_documents {data.valid_documents:,} is for data.split first, but {source.title} {has}: add --data.split "
            "first, or leave it out"
        )


def _amount(plan: SplitPlan) -> str:
    """Return the setting that determines the size of the validation split."""
    return "data.valid_documents" if plan.rule == "first" else "data.valid_share"


def _plan(data: Data, source: Source, scan: Scan) -> SplitPlan:
    if data.split == "published" and not source.published:
        raise LabError(
            f"{source.title} has no published split: expected files named train and valid (test is optional), "
            "or choose data.split hash or tail"
        )
    if data.split == "first":
        return first_documents(scan.documents, data.valid_documents)
    if data.split == "sequential":
        return _sequential(scan.documents, data.valid_share, data.test_share)
    if data.split in ("auto", "published") and source.published:
        return (
            published_parts(scan.rows["part"]) if source.published == "parts" else _tail(scan, source.published_share)
        )
    if data.split == "hash" or (data.split == "auto" and scan.documents >= FEWEST_FOR_HASH):
        plan = _hash(scan, data.valid_share, data.test_share)
        if data.split == "hash" or len(np.unique(plan.of)) == 2:
            return plan
    return _tail(scan, data.valid_share)


def first_documents(documents: int, valid_documents: int) -> SplitPlan:
    """Return the plan in which the first `valid_documents` of so many documents validate."""
    of = (np.arange(documents) < valid_documents).astype(np.uint8)
    return SplitPlan(rule="first", share=0.0, of=of, valid_documents=valid_documents)


def published_parts(parts: np.ndarray) -> SplitPlan:
    """Return the plan of documents whose part of the published split is given, uint8 indices into PARTS."""
    shift = np.array([0] + [SPLITS.index(part) for part in PARTS[1:]], dtype=np.uint8)
    return SplitPlan(rule="parts", share=0.0, of=shift[parts])


def _sequential(documents: int, valid_share: float, test_share: float) -> SplitPlan:
    # The rounding of decimal shares must not lose a document: 1,100 x (1 - .05 - .1) is 935.
    train = int(documents * (1 - valid_share - test_share) + 1e-9)
    test = int(documents * test_share + 1e-9)
    of = np.full(documents, 1, np.uint8)
    of[:train], of[train : train + test] = 0, 2
    return SplitPlan(rule="sequential", share=valid_share, of=of, test_share=test_share)


def _hash(scan: Scan, share: float, test_share: float) -> SplitPlan:
    of = np.empty(scan.documents, np.uint8)
    for begin in range(0, scan.documents, ROWS_A_TIME):
        positions = hash_positions(scan.rows["key"][begin : begin + ROWS_A_TIME])
        tests = (positions >= share) & (positions < share + test_share)
        of[begin : begin + ROWS_A_TIME] = np.where(tests, 2, positions < share)
    return SplitPlan(rule="hash", share=share, of=of, test_share=test_share)


def hash_positions(keys: np.ndarray) -> np.ndarray:
    """Return the position in [0, 1) of each document's SHA-256, from its first 8 bytes; positions below the share go to
    validation.
    """
    first = np.frombuffer(np.ascontiguousarray(keys).tobytes(), dtype=">u8")[::4]
    return first.astype(np.float64) / 2.0**64


def _tail(scan: Scan, share: float) -> SplitPlan:
    border = int((1 - share) * scan.characters)
    lengths = np.asarray(scan.rows["characters"])
    begins = np.cumsum(lengths) - lengths
    of = (begins >= border).astype(np.uint8)
    if of.any() and not of.all():
        return SplitPlan(rule="tail", share=share, of=of)
    last = scan.documents - 1
    kept = max(0, border - int(begins[last]))
    if not 0 < kept < int(lengths[last]):
        return SplitPlan(rule="tail", share=share, of=of)
    return SplitPlan(
        rule="tail", share=share, of=np.zeros(scan.documents, np.uint8), cut_document=last, cut_characters=kept
    )
