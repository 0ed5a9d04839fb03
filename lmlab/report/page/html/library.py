"""The script of the chart library, taken from the installed package."""

from __future__ import annotations

import importlib.resources
import importlib.util

from lmlab import LabError

SCRIPTS = ("bokeh.min.js", "bokeh-api.min.js")


def library_scripts() -> tuple[str, ...]:
    """Return BokehJS, one text for each script element; LabError without the package."""
    if importlib.util.find_spec("bokeh") is None:
        raise LabError('lmlab report --to html needs bokeh: pip install "lmlab[report]"')
    folder = importlib.resources.files("bokeh") / "server" / "static" / "js"
    found = []
    for name in SCRIPTS:
        try:
            script = (folder / name).read_text(encoding="utf-8")
        except OSError:
            raise LabError(f"the installed bokeh has no {name}: pip install --force-reinstall bokeh") from None
        if "</script" in script.lower() or "<!--" in script:
            raise LabError(f"bokeh's {name} can't stand in a page: install another version of bokeh")
        found.append(script)
    return tuple(found)
