"""The whole HTML file: one document without any address, its scripts and styles within it."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence

from lmlab.report.page.html.data import page_data
from lmlab.report.page.html.escape import script_json, text
from lmlab.report.page.html.policy import nonce_of, policy
from lmlab.report.page.html.sections import charts_html, compared_html, contents, run_html, table_html
from lmlab.report.page.values import Axis, Page


def document(page: Page, library: Sequence[str], against: Axis = "steps") -> str:
    """Return the file's text, with charts that start `against` that axis.

    `library` are the scripts of the chart library (`library_scripts`).
    """
    before, charts, style = (_own(name) for name in ("before.js", "charts.js", "page.css"))
    data, body = script_json(page_data(page)), _body(page, against)
    nonce = nonce_of(data + body)
    scripts = (before, *library, charts)
    blocks = [
        f'<script data-nonce="{nonce}">{before}</script>',
        *(f"<script>{script}</script>" for script in scripts[1:]),
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts, nonce)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{text(page.title)}: report of lmlab</title>",
            f'<link rel="icon" href="data:,">\n<style nonce="{nonce}">{style}</style>\n</head>',
            body,
            f'<script type="application/json" id="data">{data}</script>',
            *blocks,
            "</body>\n</html>\n",
        ]
    )


def _body(page: Page, against: Axis) -> str:
    links = "".join(f'<li><a href="#{anchor}">{text(words)}</a></li>' for anchor, words in contents(page))
    return "\n".join(
        [
            '<body>\n<a class="skip" href="#content">to the content</a>',
            f"<header><h1>{text(page.title)}</h1>",
            f'<p class="quiet">written {text(page.created)} by lmlab {text(page.version)}: <code>{text(page.command)}</code></p>'
            "</header>",
            f'<nav aria-label="contents"><ul>{links}</ul></nav>\n<main id="content">',
            *(f"<p>{text(note)}</p>" for note in page.notes),
            table_html(page.overview),
            charts_html(page, against),
            "" if page.compared is None else compared_html(page.compared),
            *(run_html(run, place) for place, run in enumerate(page.runs)),
            "</main>",
            "<footer>Every number is followed by the file that it comes from. Nothing is loaded from elsewhere.</footer>",
        ]
    )


def _own(name: str) -> str:
    return (
        importlib.resources.files("lmlab.report.page.html")
        .joinpath(name)
        .read_text(encoding="utf-8")
        .replace("\r\n", "\n")
    )
