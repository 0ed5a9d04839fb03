"""Variances of many small samples, each drawn towards what all of them have in common (empirical Bayes).

Two or three seeds tell little of a cell's own variance, and cells of one study are of one kind. So variances s_k^2, measured with
d_k degrees of freedom, are taken as draws around true ones that have an inverse chi-squared distribution:

    s_k^2 ~ sigma_k^2 chi^2(d_k) / d_k          1 / sigma_k^2 ~ chi^2(d0) / (d0 s0^2)

For given d0 and s0^2, what is then known of one of them is a variance with degrees of freedom (Smyth 2004, Linear models and
empirical Bayes methods for assessing differential expression, section 3):

    (d0 s0^2 + d_k s_k^2) / (d0 + d_k)          with d0 + d_k degrees of freedom

Smyth puts estimates in the place of d0 and s0^2, which is too bold where a dozen variances of one or two degrees of freedom tell
them: up to 9% of the intervals of 95% missed (docs/notes/variances-of-few-seeds.md). Here every pair of a grid counts with its
posterior weight; s_k^2 / s0^2 has an F distribution with d_k and d0 degrees of freedom, and the prior is 1 / sqrt(d0) and flat in
log s0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, stdtr, stdtrit

Array = NDArray[np.float64]

FREEDOMS = np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 1e6])
"""Of d0; at the last one all true variances are equal."""
PLACES = np.logspace(-3.0, 4.0, 141)
"""Of s0^2, as shares of the mean of the measured variances: of a single one with two degrees of freedom, one in 20 is less than a
twentieth of the true one."""
SMALLEST = 1e-6
"""Of the largest variance: a smaller one, such as of two equal losses, counts as that."""
LEAST_WEIGHT = 1e-3
"""Pairs with less of the posterior weight than that share of the heaviest one's are left out."""
HALVINGS = 40


@dataclass(frozen=True, kw_only=True, eq=False)
class StudentMixture:
    """The distribution of an error whose variance isn't known for sure: Student's t distributions, each with a weight."""

    weights: Array
    """[components]; they add up to 1."""
    scales: Array
    """[components]: standard errors."""
    freedoms: Array
    """[components]"""

    @property
    def standard_error(self) -> float:
        """The root of the mean squared standard error."""
        return float(np.sqrt(self.weights @ self.scales**2))

    @property
    def freedom(self) -> float:
        """The degrees of freedom of the one t distribution with that standard error whose interval of 95% is as wide."""
        ratio = self.quantile(0.975) / self.standard_error
        low, high = 0.0, 20.0  # binary logarithms
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if float(stdtrit(2.0**middle, 0.975)) > ratio else (low, middle)
        return float(2.0**low)

    def within(self, size: float) -> float:
        """The probability that the error lies between -size and size."""
        return 1.0 - 2.0 * float(self.weights @ stdtr(self.freedoms, -size / self.scales))

    def quantile(self, probability: float) -> float:
        """The value below which so much of the distribution lies (more than half of it)."""
        ends = self.scales * stdtrit(self.freedoms, probability)
        low, high = float(ends.min()), float(ends.max())
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.within(middle) < 2 * probability - 1 else (low, middle)
        return (low + high) / 2

    def scaled(self, factor: float) -> StudentMixture:
        """The same of errors `factor` times as large."""
        return StudentMixture(weights=self.weights, scales=self.scales * factor, freedoms=self.freedoms)


@dataclass(frozen=True, kw_only=True, eq=False)
class CommonVariance:
    """What the variances of one kind have in common: pairs of s0^2 and d0 with their posterior weights."""

    weights: Array
    """[pairs]; they add up to 1."""
    values: Array
    """[pairs]: s0^2."""
    freedoms: Array
    """[pairs]: d0."""

    @property
    def standard_deviation(self) -> float:
        """The root of the mean of s0^2."""
        return float(np.sqrt(self.weights @ self.values))

    @property
    def freedom(self) -> float:
        """The median of d0: how many degrees of freedom of its own a variance must have to count as much as the others."""
        order = np.argsort(self.freedoms)
        return float(self.freedoms[order][np.searchsorted(np.cumsum(self.weights[order]), 0.5)])

    def moderated(self, own: float, freedom: float) -> StudentMixture:
        """The error of one run whose variance was measured as `own` with so many degrees of freedom (0: not measured)."""
        together = self.freedoms + freedom
        values = (self.freedoms * self.values + freedom * own) / together
        return StudentMixture(weights=self.weights, scales=np.sqrt(values), freedoms=np.maximum(1.0, together))


def common_variance(
    variances: Sequence[float], freedoms: Sequence[float], independent: float = 1.0
) -> CommonVariance | None:
    """What these measured variances have in common; None where there is none, or all are 0.

    `independent` is the share of them that tell something of their own, where they are of samples that overlap: their likelihood
    counts by that power (a composite likelihood: Varin, Reid and Firth 2011, section 2.3).
    """
    known = [(value, freedom) for value, freedom in zip(variances, freedoms, strict=True) if freedom > 0]
    largest = max((value for value, _ in known), default=0.0)
    if largest == 0.0:
        return None
    own = np.array([max(value, SMALLEST * largest) for value, _ in known])
    freedom = np.array([freedom for _, freedom in known])
    places = float(own @ freedom / freedom.sum()) * PLACES
    logarithms = np.array(
        [independent * _likelihood(own, freedom, places, among) - 0.5 * np.log(among) for among in FREEDOMS]
    )
    weights = np.exp(logarithms - logarithms.max()).ravel()
    kept = weights > LEAST_WEIGHT
    return CommonVariance(
        weights=weights[kept] / weights[kept].sum(),
        values=np.tile(places, len(FREEDOMS))[kept],
        freedoms=np.repeat(FREEDOMS, len(places))[kept],
    )


def _likelihood(own: Array, freedom: Array, places: Array, among: float) -> Array:
    """[places]: the logarithm of the density of these variances for each s0^2 where d0 is `among`, up to a constant."""
    ratio = (freedom / among)[:, None] * own[:, None] / places[None, :]
    constant = gammaln((freedom + among) / 2) - gammaln(among / 2)
    half = freedom[:, None] / 2
    return np.asarray(np.sum(constant[:, None] + half * np.log(ratio) - (half + among / 2) * np.log1p(ratio), axis=0))
