"""Token ids as they come from a file: looked at before anything is looked up, or counted, by them.

The whole of a token file is read by `Dataset.verify` only; what trains or scores looks at what it takes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError


def require_ids(ids: NDArray[np.integer[Any]], vocabulary: int) -> None:
    """Raise LabError if an id lies outside the vocabulary."""
    if ids.size and not (int(ids.min()) >= 0 and int(ids.max()) < vocabulary):
        wrong = int(ids.max()) if int(ids.max()) >= vocabulary else int(ids.min())
        raise LabError(
            f"the data has token {wrong}, expected at most {vocabulary - 1}: lmlab data check finds where; prepare it again"
        )
