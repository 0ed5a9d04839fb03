"""Validation of token ids from a file, before they are used as indices or counted.

Only `Dataset.verify` reads a whole token file; training and scoring validate the tokens that they read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError


def require_ids(ids: NDArray[np.integer[Any]], vocabulary: int) -> None:
    """Raise LabError if an id is outside the vocabulary."""
    if ids.size and not (int(ids.min()) >= 0 and int(ids.max()) < vocabulary):
        wrong = int(ids.max()) if int(ids.max()) >= vocabulary else int(ids.min())
        raise LabError(
            f"the data has token {wrong}, expected at most {vocabulary - 1}: lmlab data check finds where; prepare it again"
        )
