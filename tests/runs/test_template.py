"""template.json: the template of the conversations that a run's model was tuned with."""

import pytest

from lmlab import LabError
from lmlab.recipe.template import TEMPLATES


def test_a_run_has_the_template_that_was_written_and_none_without_one(make_run):
    run = make_run()
    assert run.template() is None
    for template in TEMPLATES.values():
        run.write("template.json", template.to_json())
        assert run.template() is template


@pytest.mark.parametrize(
    "damage",
    [
        '{"format": 9, "name": "alpaca"}',
        '{"format": 1, "name": "other\\u001b[2J"}',
        "[]",
        "{",
        '{"format": 1, "name": {}}',
    ],
)
def test_a_damaged_template_is_one_line(make_run, damage):
    run = make_run()
    (run.folder / "template.json").write_text(damage)
    with pytest.raises(LabError, match=r"template\.json") as caught:
        run.template()
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
