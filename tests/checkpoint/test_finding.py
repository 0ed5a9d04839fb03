"""Finding latest, best, init and steps: damaged checkpoints are skipped with a line, missing ones are reported."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import steps
from lmlab.checkpoint.pointers import point, pointed


@pytest.fixture(scope="module")
def example(tmp_path_factory, save_tiny):
    """Steps 0, 250, 500 and 750; 250 is the best."""
    folder = tmp_path_factory.mktemp("example")
    for step in (0, 250, 500, 750):
        save_tiny(folder, step, best=step == 250, keep=9)
    return folder


@pytest.fixture
def folder(example, tmp_path):
    return shutil.copytree(example, tmp_path / "checkpoints")


@pytest.mark.parametrize(
    ("which", "step"), [("latest", 750), ("best", 250), ("init", 0), ("0", 0), ("500", 500), ("00500", 500)]
)
def test_each_name_finds_its_checkpoint_and_says_nothing(folder, value_of, which, step):
    checkpoint, lines = find(folder, which)
    assert (checkpoint.step, value_of(checkpoint), lines) == (step, step, [])
    assert checkpoint.parts == ["weights", "optimizer"]


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["a bit", "missing", "cut off", "a folder"])
def test_a_damaged_latest_is_passed_over_with_one_line_that_names_the_file(folder, value_of, damage, file, harm):
    path = folder / "step-00000750" / file
    if harm == "a bit":
        damage(path)
    elif harm == "cut off":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        path.unlink()
        if harm == "a folder":
            path.mkdir()
    checkpoint, lines = find(folder, "latest")
    assert value_of(checkpoint) == 500
    assert len(lines) == 1 and str(path.parent) in lines[0] and "\n" not in lines[0]
    # a manifest that says another hash accuses the file that it's about
    assert file in lines[0] or (file, harm) == ("manifest.json", "a bit")
    with pytest.raises(LabError, match="step-00000750"):
        find(folder, "750")


def test_each_damaged_one_has_its_line_until_none_is_left(folder, damage, value_of):
    for count, (step, left) in enumerate([(750, 500), (500, 250), (250, 0)], 1):
        damage(folder / f"step-{step:08d}" / "weights.safetensors")
        checkpoint, lines = find(folder, "latest")
        assert value_of(checkpoint) == left and len(lines) == count
    damage(folder / "step-00000000" / "state.json")
    with pytest.raises(LabError, match="no checkpoint in .* is intact") as caught:
        find(folder, "latest")
    assert "\n" not in str(caught.value)


def test_a_damaged_best_is_replaced_by_the_newest_and_that_is_said(folder, damage, value_of):
    damage(folder / "step-00000250" / "weights.safetensors")
    checkpoint, lines = find(folder, "best")
    assert value_of(checkpoint) == 750
    assert len(lines) == 2 and "weights.safetensors" in lines[0] and "step 750" in lines[1]


def test_without_a_best_one_the_newest_is_taken_and_that_is_said(folder, value_of):
    (folder / "best.json").unlink()
    checkpoint, lines = find(folder, "best")
    assert value_of(checkpoint) == 750 and len(lines) == 1 and "no best checkpoint" in lines[0]


def test_the_pointer_and_not_the_highest_number_says_which_is_the_latest(folder, value_of):
    point(folder, "latest", 500)
    checkpoint, lines = find(folder, "latest")
    assert value_of(checkpoint) == 500 and lines == []


def test_what_a_pointer_misses_is_looked_for_before_it_and_then_after_it(folder, value_of):
    point(folder, "latest", 500)
    shutil.rmtree(folder / "step-00000500")
    checkpoint, lines = find(folder, "latest")
    assert value_of(checkpoint) == 250 and "points to step 500, which is not there" in lines[0]
    for step in (0, 250):
        shutil.rmtree(folder / f"step-{step:08d}")
    assert find(folder, "latest")[0].step == 750


def test_a_step_that_is_not_there_is_answered_with_those_that_are(folder):
    with pytest.raises(LabError, match="no checkpoint of step 300: it has 0, 250, 500, 750"):
        find(folder, "300")


@pytest.mark.parametrize("which", ["", "newest", "-1", "1e3", "250.0", "٣", "9" * 30, "../step-00000250"])
def test_a_name_that_is_none_is_answered_with_those_that_are(folder, which):
    with pytest.raises(LabError, match="expected latest, best, init or a step"):
        find(folder, which)


@pytest.mark.parametrize("which", ["latest", "best", "init", "250"])
def test_a_run_without_checkpoints_says_so(tmp_path, which):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(LabError, match="there is no checkpoint"):
            find(folder, which)
        assert steps(folder) == []


def test_pointers_hold_the_step_the_loss_and_the_hash_that_covers_everything(folder):
    best = pointed(folder, "best")
    assert best == {"format": 1, "step": 250, "manifest_sha256": find(folder, "best")[0].sha256, "loss": 1 / 251}
    assert pointed(folder, "latest")["step"] == 750
    assert pointed(folder, "other") is None


def test_a_pointer_to_nothing_and_one_with_a_path_for_a_name_are_refused(folder):
    with pytest.raises(LabError, match="has no checkpoint of it"):
        point(folder, "latest", 300)
    with pytest.raises(LabError, match="can't be called"):
        point(folder, "../latest", 250)


def test_a_checkpoint_swapped_under_its_pointer_is_used_and_that_is_said(folder, save_tiny, value_of, tmp_path):
    save_tiny(tmp_path / "other", 750, 7)
    shutil.rmtree(folder / "step-00000750")
    shutil.move(tmp_path / "other" / "step-00000750", folder)
    checkpoint, lines = find(folder, "latest")
    assert value_of(checkpoint) == 7 and len(lines) == 1 and "latest.json" in lines[0]


def test_a_part_that_is_not_there_is_answered_with_those_that_are(folder):
    with pytest.raises(LabError, match="expected one of weights, optimizer"):
        find(folder, "latest")[0].tensors("gradients")


def test_verify_names_what_was_damaged_since_it_was_found(folder, damage):
    checkpoint, _ = find(folder, "latest")
    checkpoint.verify()
    damage(checkpoint.folder / "optimizer.safetensors")
    with pytest.raises(LabError, match="optimizer.safetensors"):
        checkpoint.verify()


@given(st.data())
def test_any_one_byte_changed_anywhere_is_noticed(example, tmp_path_factory, value_of, data):
    folder = tmp_path_factory.getbasetemp() / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(example, folder)
    path = data.draw(st.sampled_from(sorted((folder / "step-00000750").iterdir())))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    checkpoint, lines = find(folder, "latest")
    assert len(lines) == 1
    assert value_of(checkpoint) == (500 if path.name != "manifest.json" or checkpoint.step == 500 else 750)


def test_state_is_read_as_it_was_saved_and_nan_as_null(tmp_path):
    from lmlab.checkpoint.saving import save

    state = {"loss_sum": 0.1 + 0.2, "cursor": 2**62, "name": "naïve ☕", "skipped": [[1, 2]], "loss": float("nan")}
    saved = save(tmp_path, 3, {}, state, {"lmlab": "0.1.0"})
    assert saved.state == find(tmp_path, "3")[0].state == {**state, "loss": None}
    assert saved.manifest["extra"] == {"lmlab": "0.1.0"}


def test_listing_checkpoints_does_not_import_torch():
    import subprocess
    import sys
    from pathlib import Path

    code = "import sys, lmlab.checkpoint.finding, lmlab.checkpoint.pointers; print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root).stdout == "False\n"
