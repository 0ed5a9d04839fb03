"""Published numbers beside measured ones: which figure of a run stands beside which claim."""

import pytest

from lmlab.experiment.claims import claim_line, compared_claims
from lmlab.recipe import load_recipe, override

NAME = "wikitext2-context-baseline-as-run"
LINES = [{"step": step, "valid_loss": 6.0 - step / 500, "train_loss": 1.0} for step in range(0, 1251, 25)]
FINAL = {"step": 1250, "loss": 3.6, "perplexity": 36.6, "accuracy": 0.35}
BEST = {"step": 1225, "loss": 3.5, "perplexity": 33.1, "accuracy": 0.34}


def test_losses_perplexities_and_accuracies_stand_beside_the_best_models_or_their_steps():
    found = compared_claims(load_recipe(NAME), LINES, FINAL, BEST)
    measured = {(entry["metric"], entry["step"]): entry["measured"] for entry in found}
    assert measured == {
        ("valid_loss", 25): pytest.approx(5.95),
        ("valid_loss", 250): pytest.approx(5.5),
        ("valid_loss", 500): pytest.approx(5.0),
        ("valid_loss", 750): pytest.approx(4.5),
        ("valid_loss", 1000): pytest.approx(4.0),
        ("valid_loss", None): 3.5,
        ("valid_perplexity", None): 33.1,
        ("valid_accuracy", None): 0.34,
    }
    words = "\n".join(claim_line(entry) for entry in found)
    assert "validation perplexity, best: published 30.78, measured 33.10" in words
    assert "validation accuracy, best: published 34.4%, measured 34.0%" in words
    assert "validation loss, step 1,000: published 3.5500, measured 4.0000" in words


def test_a_changed_recipe_has_no_claims():
    assert compared_claims(override(load_recipe(NAME), {"train.batch": "32"}), LINES, FINAL, BEST) == []
