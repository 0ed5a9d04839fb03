"""What planning says of a context-propagation model, and what it refuses in one line."""

import pytest

from lmlab import LabError
from lmlab.model.cost import parameters
from lmlab.planning.inverse.shapes import counted_parameters, shapes_like
from lmlab.planning.losses.known_law import published_law
from lmlab.planning.losses.ladder import rungs_of
from lmlab.planning.next_steps.facts import RunFacts
from lmlab.planning.next_steps.ranking import next_steps
from lmlab.recipe import AdamW, Context, Muon, Recipe
from lmlab.training.memory import checkpoint_bytes

MODEL = Context(layers=6, width=256, hidden=512, vector=256)
RECIPE = Recipe(model=MODEL)


def test_a_checkpoint_holds_two_means_a_weight_and_muon_s_one_for_layers_and_gates():
    count = parameters(MODEL, 1000)["total"]
    matrices = (256 + 256) * 512 + 5 * 512 * 512 + 3 * 256 * 512
    assert checkpoint_bytes(Recipe(model=MODEL, optim=AdamW()), 1000) == 3 * count * 4
    assert checkpoint_bytes(Recipe(model=MODEL, optim=Muon()), 1000) == (3 * count - matrices) * 4


def test_all_of_it_counts_as_its_size():
    assert counted_parameters(RECIPE, 1000) == 2_739_432


@pytest.mark.parametrize(
    "planned",
    [
        lambda: shapes_like(RECIPE),
        lambda: rungs_of(RECIPE, 1000, 100),
    ],
)
def test_what_rests_on_shapes_of_gpts_is_refused_in_one_line(planned):
    with pytest.raises(LabError, match="model.kind gpt, not (of|for) context") as caught:
        planned()
    assert "\n" not in str(caught.value)


def test_what_comes_next_rests_on_a_law_that_is_said_to_be_of_transformers():
    facts = RunFacts(
        name="one",
        folder="runs/one",
        recipe=RECIPE,
        vocabulary=1000,
        parameters=counted_parameters(RECIPE, 1000),
        length=2_000,
        steps=2_000,
        tokens=1_000_000,
        unique_tokens=500_000,
        step_tokens=500.0,
        loss=4.0,
        seconds_a_token=1e-4,
        curve=(),
        turned=False,
    )
    found = next_steps(facts, published_law(1000))
    assert {option.what for option in found.options} == {"more steps", "more text"}
    assert "refitted it to transformers, which a model of kind context is not; " in found.source
