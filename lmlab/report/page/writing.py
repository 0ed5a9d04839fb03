"""Writing a report of runs into files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lmlab.files import make_folder, write_text
from lmlab.report.curves import Against
from lmlab.report.files import MOST_RUNS as MOST_DRAWN
from lmlab.report.files import Format, stem, write_report
from lmlab.report.page.gathering import page_of
from lmlab.report.page.html.document import document
from lmlab.report.page.html.library import library_scripts
from lmlab.report.page.markdown import markdown
from lmlab.report.reading import curves_of
from lmlab.runs import Run

Named = Sequence[tuple[Run, str | None]]
Say = Callable[[str], None]
ADVICE = "choose another folder for the report"


def write_html(named: Named, folder: Path, against: Against, command: str, say: Say) -> Path:
    """Write the report of the named runs as one HTML file into `folder` (created if necessary) and return it.

    LabError without bokeh, where there are too many runs, or one has no losses or can't be read.
    """
    library = library_scripts()
    content = document(page_of(named, command, say), library, against)
    return _written(content, named, folder, "html")


def write_markdown(
    named: Named, folder: Path, against: Against, pictures: Format, command: str, say: Say
) -> list[Path]:
    """Write the report as Markdown, with the figure of its first eight runs beside it; return the files, the document first.

    LabError as for HTML, which needs bokeh while this doesn't.
    """
    page = page_of(named, command, say)
    files = write_report([curves_of(run, which) for run, which in named[:MOST_DRAWN]], folder, against, pictures)
    shown = [file.name for file in files if file.suffix == ".png"] or [file.name for file in files]
    return [_written(markdown(page, shown), named, folder, "md"), *files]


def _written(content: str, named: Named, folder: Path, ending: str) -> Path:
    path = make_folder(folder, ADVICE) / f"{stem([run.name for run, _ in named], 'report')}.{ending}"
    write_text(path, content)
    return path
