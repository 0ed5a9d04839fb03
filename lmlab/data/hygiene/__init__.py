"""Checks of a data set's text: duplicates within and across splits, hidden characters, boilerplate, likely secrets.

    checked(open_dataset("0123456789abcdef"))

Names are looked up on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.data.hygiene.check import checked, duplicate_units, is_quick, kept

__all__ = ["checked", "duplicate_units", "is_quick", "kept"]

__getattr__ = lazily(__name__, {"checked": "check", "duplicate_units": "check", "is_quick": "check", "kept": "check"})
