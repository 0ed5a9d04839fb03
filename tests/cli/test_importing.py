"""The imports of a start are made without a look for garbage, which is looked for again afterwards."""

import gc
import sys

import pytest

from lmlab.cli.importing import import_uncollected


def test_modules_are_there_and_garbage_is_collected_again():
    import_uncollected("calendar", "colorsys")
    assert {"calendar", "colorsys"} <= set(sys.modules) and gc.isenabled()
    with pytest.raises(ModuleNotFoundError):
        import_uncollected("lmlab.no_such_module")
    assert gc.isenabled()
    gc.unfreeze()
