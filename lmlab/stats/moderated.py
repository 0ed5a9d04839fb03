"""Variances of many small samples, each shrunk towards a common value (empirical Bayes).

Two or three seeds estimate a cell's own variance poorly, but the cells of one study are alike. So variances s_k^2, measured with
d_k degrees of freedom, are modelled as draws around true ones that have an inverse chi-squared distribution:

    s_k^2 ~ sigma_k^2 chi^2(d_k) / d_k          1 / sigma_k^2 ~ chi^2(d0) / (d0 s0^2)

For given d0 and s0^2, the posterior of one of them is a variance with degrees of freedom (Smyth 2004, Linear models and
empirical Bayes methods for assessing differential expression, section 3):

    (d0 s0^2 + d_k s_k^2) / (d0 + d_k)          with d0 + d_k degrees of freedom

Smyth uses point estimates of d0 and s0^2, which gives too narrow intervals from a dozen variances with one or two degrees of
freedom: up to 9% of the 95% intervals missed (docs/notes/variances-of-few-seeds.md). Here every pair of a grid counts with its
posterior weight; s_k^2 / s0^2 has an F distribution with d_k and d0 degrees of freedom, and the prior is 1 / sqrt(d0) and flat in
log s0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FREEDOMS = np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 1e6])
"""Grid of d0; at the last value all true variances are equal."""
PLACES = np.logspace(-3.0, 4.0, 141)
"""Grid of s0^2, as a share of the mean measured variance. Of single variances with two degrees of freedom, one in 20 is below a
twentieth of the true one.
"""
SMALLEST = 1e-6
"""Share of the largest variance: a smaller one, such as that of two equal losses, is raised to this."""
LEAST_WEIGHT = 1e-3
"""Pairs whose posterior weight is below this share of the largest weight are left out."""
HALVINGS = 40


@dataclass(frozen=True, kw_only=True, eq=False)
class StudentMixture:
    """The distribution of an error whose variance isn't known exactly: a weighted mixture of Student's t distributions."""

    weights: Array
    """[components], summing to 1."""
    scales: Array
    """[components]: standard errors."""
    freedoms: Array
    """[components]: degrees of freedom."""

    @property
    def standard_error(self) -> float:
        """The root mean square of the standard errors."""
        return float(np.sqrt(self.weights @ self.scales**2))

    @property
    def freedom(self) -> float:
        """The degrees of freedom of the single t distribution with that standard error and an equally wide 95% interval."""
        from scipy.special import stdtrit

        ratio = self.quantile(0.975) / self.standard_error
        low, high = 0.0, 20.0  # binary logarithms
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if float(stdtrit(2.0**middle, 0.975)) > ratio else (low, middle)
        return float(2.0**low)

    def within(self, size: float) -> float:
        """Return the probability that the error lies between -size and size."""
        from scipy.special import stdtr

        return 1.0 - 2.0 * float(self.weights @ stdtr(self.freedoms, -size / self.scales))

    def quantile(self, probability: float) -> float:
        """Return the quantile at `probability`, which must be above 0.5."""
        from scipy.special import stdtrit

        ends = self.scales * stdtrit(self.freedoms, probability)
        low, high = float(ends.min()), float(ends.max())
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.within(middle) < 2 * probability - 1 else (low, middle)
        return (low + high) / 2

    def scaled(self, factor: float) -> StudentMixture:
        """Return the distribution of the error multiplied by `factor`."""
        return StudentMixture(weights=self.weights, scales=self.scales * factor, freedoms=self.freedoms)


@dataclass(frozen=True, kw_only=True, eq=False)
class CommonVariance:
    """The common distribution of the variances of one kind: pairs of s0^2 and d0 with their posterior weights."""

    weights: Array
    """[pairs], summing to 1."""
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
        """The median of d0: the degrees of freedom at which a variance's own measurement counts as much as the common one."""
        order = np.argsort(self.freedoms)
        return float(self.freedoms[order][np.searchsorted(np.cumsum(self.weights[order]), 0.5)])

    def moderated(self, own: float, freedom: float) -> StudentMixture:
        """Return the error of one run whose variance was measured as `own` with `freedom` degrees of freedom (0: not measured)."""
        together = self.freedoms + freedom
        values = (self.freedoms * self.values + freedom * own) / together
        return StudentMixture(weights=self.weights, scales=np.sqrt(values), freedoms=np.maximum(1.0, together))


def common_variance(
    variances: Sequence[float], freedoms: Sequence[float], independent: float = 1.0
) -> CommonVariance | None:
    """Return the common distribution of these measured variances; None if there is none, or all are 0.

    `independent` is the share of independent variances among them, for samples that overlap: the likelihood
    is raised to that power (a composite likelihood: Varin, Reid and Firth 2011, section 2.3).
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
    """Return [places]: the log-density of these variances for each s0^2 at d0 = `among`, up to a constant."""
    from scipy.special import gammaln

    ratio = (freedom / among)[:, None] * own[:, None] / places[None, :]
    constant = gammaln((freedom + among) / 2) - gammaln(among / 2)
    half = freedom[:, None] / 2
    return np.asarray(np.sum(constant[:, None] + half * np.log(ratio) - (half + among / 2) * np.log1p(ratio), axis=0))
