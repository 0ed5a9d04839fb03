"""The chat page: nothing but its own script runs, nothing is asked of other servers, and text is never HTML."""

import base64
import hashlib
import html.parser
import re

from lmlab.serve.page import page


class Elements(html.parser.HTMLParser):
    """The tags with their attributes, and the text of scripts and styles."""

    def __init__(self):
        super().__init__()
        self.tags, self.inline = [], {}

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style") and self.cdata_elem:
            self.inline[self.tags[-1][0]] = self.inline.get(self.tags[-1][0], "") + data


def parsed():
    elements = Elements()
    elements.feed(page()[0])
    return elements


def test_the_policy_has_the_hashes_of_script_and_style_and_allows_nothing_else():
    policy = dict(part.strip().split(" ", 1) for part in page()[1].split(";"))
    for tag, content in parsed().inline.items():
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["connect-src"] == "'self'"


def test_nothing_is_loaded_from_elsewhere_and_no_attribute_has_code_or_style():
    text = page()[0]
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"(?m)^\s*// .*$", "", text))
    for _, attributes in parsed().tags:
        assert not any(name.startswith("on") or name in ("style", "src", "srcdoc") for name in attributes)
        assert attributes.get("href", "data:,") == "data:,"


def test_text_is_only_set_as_text():
    script = parsed().inline["script"]
    assert "textContent" in script
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert sink not in script


def test_the_server_sends_it_with_the_policy(client):
    response = client.get("/")
    assert response.text == page()[0]
    assert response.headers["content-security-policy"] == page()[1]
    assert response.headers["x-content-type-options"] == "nosniff"
