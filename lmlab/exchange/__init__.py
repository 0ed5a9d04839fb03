"""Import of other projects' training logs as runs."""

from lmlab.exchange.forms import FORMS, read_log
from lmlab.exchange.importing import Imported, import_log
from lmlab.exchange.log import Log, LogPoint

__all__ = ["FORMS", "Imported", "Log", "LogPoint", "import_log", "read_log"]
