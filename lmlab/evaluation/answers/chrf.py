"""chrF: the F-score of character n-grams that an answer and its reference have in common, from 0 to 100.

    precision = mean over n = 1 to 6 of (common n-grams / the answer's)       recall = the same over the reference's
    chrF = 100 (1 + beta^2) precision recall / (beta^2 precision + recall)

(Popović, 2015, chrF: character n-gram F-score for automatic MT evaluation, WMT, section 2; beta = 2, with which recall counts four
times as much: Popović, 2016, chrF deconstructed.) As published by sacreBLEU (chrF2, version 2): white space is left out, case
counts, n-grams are counted with their multiplicity, and only those n count of which both texts have one.
"""

from __future__ import annotations

from collections import Counter

LONGEST = 6
BETA = 2.0


def chrf(answer: str, reference: str, beta: float = BETA) -> float:
    """Return the score of one answer; 0 where either text is empty.

    >>> round(chrf("the cat", "the cats"), 2)
    77.57
    """
    own, other = "".join(answer.split()), "".join(reference.split())
    precisions, recalls = [], []
    for length in range(1, min(LONGEST, len(own), len(other)) + 1):
        of_answer, of_reference = _ngrams(own, length), _ngrams(other, length)
        common = (of_answer & of_reference).total()
        precisions.append(common / of_answer.total())
        recalls.append(common / of_reference.total())
    if not any(precisions):
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return 100.0 * (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _ngrams(text: str, length: int) -> Counter[str]:
    return Counter(text[place : place + length] for place in range(len(text) - length + 1))
