"""Figures of any text without a judge: repetition, copying from training text, known words, loss under a reference model."""

from lmlab.evaluation.measures.copying import Copies
from lmlab.evaluation.measures.figures import FIGURES, Figure, figures_of, rows_of
from lmlab.evaluation.measures.passages import Passage, Words, words_of
from lmlab.evaluation.measures.reference import reference_rows

__all__ = ["FIGURES", "Copies", "Figure", "Passage", "Words", "figures_of", "reference_rows", "rows_of", "words_of"]
