"""Setting names from other projects, books and papers get a hint with the name here, in flags and files."""

import pytest

from lmlab import LabError
from lmlab.cli import VERBS
from lmlab.cli.arguments import flag_names
from lmlab.cli.sample import Sample
from lmlab.cli.train import Train
from lmlab.recipe import from_toml, override
from lmlab.recipe.experiment import Recipe
from lmlab.recipe.foreign import NAMES
from lmlab.recipe.override import KINDS, _names_of, dotted_names

# What the authors of published runs type, and what they mean by it.
TYPED = {
    "emb_dim": "model.width",
    "drop_rate": "model.dropout",
    "context_length": "model.context",
    "num_epochs": "train.epochs",
    "gradient_clip": "optim.clip",
    "hidden_dim": "model.hidden",
    "warmup_epochs": "schedule.warmup",
    "n_embd": "model.width",
    "n_layer": "model.layers",
    "n_head": "model.heads",
    "block_size": "model.context",
    "max_iters": "train.steps",
    "batch_size": "train.batch",
    "learning_rate": "optim.lr",
    "weight_decay": "optim.weight_decay",
    "grad_clip": "optim.clip",
    "gradient_accumulation_steps": "train.micro_batch",
}


@pytest.mark.parametrize(("word", "ours"), TYPED.items())
def test_a_word_of_theirs_names_ours_wherever_it_is_typed(word, ours):
    for attempt in (
        lambda: override(Recipe(), {word: "3"}),
        lambda: override(Recipe(), {f"model.{word}": "3"} if f"model.{word}" != ours else {f"train.{word}": "3"}),
        lambda: from_toml(f"{word} = 3\n"),
        lambda: from_toml(f"[{'data' if word == 'weight_decay' else 'optim'}]\n{word} = 3\n"),
    ):
        with pytest.raises(LabError) as refused:
            attempt()
        assert f"is called {ours}" in str(refused.value) and "\n" not in str(refused.value)


def test_every_name_that_is_given_is_one_that_there_is():
    settings = set(dotted_names(Recipe()))
    settings |= {
        name for section, kinds in KINDS.items() for choice in kinds.values() for name in _names_of(section, choice)
    }
    flags = {name.removeprefix("--") for verb in (Train, Sample) for name in flag_names(verb)}
    for ours in NAMES.values():
        if ours.startswith("the verb "):
            assert ours.split()[2] in VERBS
        else:
            assert ours.split(" ")[0].rstrip(",") in settings | flags, ours


def test_no_name_of_ours_is_taken_for_theirs():
    for name in dotted_names(Recipe()):
        if name not in ("name", "about", "published_vocabulary"):
            section, _, leaf = name.rpartition(".")
            ours = NAMES.get(leaf, name).split(" ")[0]
            # nanoGPT's --start is what it writes after.
            assert ours.rpartition(".")[2] == leaf or (leaf, ours) == ("start", "prompt")
