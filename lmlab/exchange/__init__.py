"""Import of other projects' training logs as runs."""

from lmlab.exchange.forms import FORMS, read_log
from lmlab.exchange.importing import Imported, import_log
from lmlab.exchange.log import Log, Point

__all__ = ["FORMS", "Imported", "Log", "Point", "import_log", "read_log"]
