"""Answers against reference answers without a judge: exact match, chrF, and the likelihood of the reference under the model."""

from lmlab.evaluation.answers.chrf import chrf
from lmlab.evaluation.answers.exact import exact_match, normalised
from lmlab.evaluation.answers.likelihood import Likelihoods, likelihoods

__all__ = ["Likelihoods", "chrf", "exact_match", "likelihoods", "normalised"]
