"""A page proves itself: node or Chromium opens the file, and the page compares what it computes with what PyTorch computed."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.exchange.html.document import resource
from lmlab.exchange.models.proof import Proof

NODE = ("node", "nodejs")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
SECONDS = 600
NOT_PROVEN = "not proven: neither node nor Chromium is installed; the page's own check is under About"


def prove_page(path: Path) -> Proof:
    """Let node, else Chromium, run the page's check; LabError where it computes something else."""
    node = _first(NODE)
    browser = None if node else _first(BROWSERS)
    if node is None and browser is None:
        return Proof(by="", line=NOT_PROVEN)
    try:
        found = checked_by_node(node, path) if node is not None else checked_by_browser(str(browser), path)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Proof(by="", line=f"not proven: {node or browser} didn't run the page ({type(error).__name__})")
    if not found["passed"]:
        raise LabError(
            f"{found['by']} computes something else from the page: logits part by {found['largest']:.3g}, "
            f"{found['different']} of {found['greedy']} greedy tokens differ, a text's tokens are "
            f"{'equal' if found['encodes'] else 'different'}; nothing was exported"
        )
    return Proof(by=found["by"], line=_line(found), largest=found["largest"])


def checked_by_node(node: str, path: Path) -> dict[str, Any]:
    """Return the result of a page's check in node. ValueError or SubprocessError where node doesn't run it."""
    with tempfile.TemporaryDirectory() as folder:
        driver = Path(folder) / "node.js"
        driver.write_text(resource("node.js"), encoding="utf-8")
        done = subprocess.run([node, str(driver), str(path)], capture_output=True, check=True, timeout=SECONDS)
    return _result(done.stdout.decode("utf-8", errors="replace"))


def checked_by_browser(browser: str, path: Path) -> dict[str, Any]:
    """Return the result of a page's check in headless Chromium, as `checked_by_node` does."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        flags = ["--headless", "--disable-gpu", "--no-first-run", f"--user-data-dir={folder}", "--dump-dom"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags.append("--no-sandbox")  # Chromium has no sandbox for root, in a container for example
        address = f"{path.resolve().as_uri()}#check"
        done = subprocess.run([browser, *flags, address], capture_output=True, check=True, timeout=SECONDS)
    page = done.stdout.decode("utf-8", errors="replace")
    match = re.search(r'<output id="checked"[^>]*>([^<]*)</output>', page)
    return _result(html.unescape(match[1]) if match else "")


def _result(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(text[:80])
    if found["largest"] is None:
        found["largest"] = float("inf")
    return found


def _first(names: tuple[str, ...]) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


def _line(found: dict[str, Any]) -> str:
    text = "the same greedy text" if not found["different"] else "the same greedy text but for ties"
    return (
        f"proven by {found['by']}: {text} of {found['greedy']} tokens, and the same logits at {found['positions']} "
        f"positions (largest difference {found['largest']:.2g})"
    )
