"""One process at work on one run: model, optimizer and data together, and the hooks of the training loop.

A new run, a resume and a branch differ only in the source of the session's state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.layout import steps as checkpoint_steps
from lmlab.checkpoint.opened import Checkpoint
from lmlab.checkpoint.pointers import update_pointers
from lmlab.data.dataset import Dataset
from lmlab.evaluation.gap import loss_gap
from lmlab.evaluation.losses import EvaluationStopped, evaluate_sample, evaluate_split
from lmlab.evaluation.result import Evaluation
from lmlab.experiment.black_box import black_box
from lmlab.experiment.outline import Outline
from lmlab.experiment.replica import description
from lmlab.files import DISK, Storage
from lmlab.generation.decoding import generate
from lmlab.generation.prompts import begin_of
from lmlab.generation.settings import Sampling
from lmlab.hardware.energy import EnergyMeter
from lmlab.hardware.load import ShareMeter
from lmlab.hardware.memory import OutOfMemory, first_line, is_out_of_memory
from lmlab.hardware.nvml import nvidia_gpu
from lmlab.model.adapter_cost import training_flops_per_token
from lmlab.planning.trials.peaks import datasheet_of, peak_flops
from lmlab.recipe import Recipe
from lmlab.runs import Journal, Run
from lmlab.runs.black_boxes import write_black_box
from lmlab.scaling.estimate import Estimate
from lmlab.training import parallel
from lmlab.training.display import Display
from lmlab.training.evaluating import EvaluationPlan
from lmlab.training.exchange import AgreedStop
from lmlab.training.guard import StepVerdict
from lmlab.training.hooks import Ending, Hooks, Scores, StopCheck
from lmlab.training.loop import Loop
from lmlab.training.outlook import Outlook, forecast_loss
from lmlab.training.pace import Correction, Expected, Pace, expected_time
from lmlab.training.policy import Policy, smaller_micro_batch
from lmlab.training.saving import Saver, best_of, forget_lost_best, require_weights
from lmlab.training.setup import Training, set_up
from lmlab.training.signals import Interrupted, StopRequests
from lmlab.training.spikes import rewind_target
from lmlab.training.state import State
from lmlab.training.wall import WallClock


@dataclass(kw_only=True)
class Session:
    """Everything of a run that is open in this process."""

    outline: Outline
    run: Run
    journal: Journal
    display: Display
    training: Training
    saver: Saver
    outlook: Outlook
    clock: WallClock = field(default_factory=WallClock.of_call)
    """The clock of the run's wall time."""
    storage: Storage = DISK
    """The storage through which the run is written; checks that the run is still this process's."""
    energy: EnergyMeter
    """The energy that this process has spent on training."""
    processor_share: float = 1.0
    """CPU time that the training received as a share of what it requested: 1 on an idle machine."""
    saved_step: int = -1
    """The step of the checkpoint from which this session was opened; -1 without one."""

    @property
    def recipe(self) -> Recipe:
        """The recipe that is trained."""
        return self.outline.recipe

    @property
    def policy(self) -> Policy:
        """How it is computed on this machine."""
        return self.outline.policy

    @property
    def dataset(self) -> Dataset:
        """The data set that it reads."""
        return self.outline.dataset

    @property
    def plan(self) -> EvaluationPlan:
        """What its evaluations score."""
        return self.outline.plan

    @property
    def state(self) -> State:
        """The state of the training."""
        return self.training.state

    @property
    def resumed(self) -> bool:
        """Whether this session continues from a checkpoint of its own run."""
        return self.saved_step >= 0

    def train(self, deadline: float | None = None) -> Ending:
        """Run the loop to its end, or until `deadline` in `time.monotonic()`."""
        together = self.policy.ranks > 1
        with StopRequests(self.run.read_control, deadline, forgiving=together) as own, self.energy:
            stop = self._joined(own) if together else own
            meter = ShareMeter(self.policy.threads)
            loop = self._loop(stop, self._save, peak_flops(self.policy), self._expected_time())
            name, recipe = self.run.name, self.recipe.name
            self.display.open(name if name == recipe else f"{name}: {recipe}")
            try:
                return loop.run()
            except Exception as error:
                failure = self._out_of_memory(error) if is_out_of_memory(error) else error
                if not isinstance(failure, LabError):
                    raise
                with contextlib.suppress(LabError):  # writing this line may fail on the same disk
                    self._record("events", "failed", self.state.step, self.state.tokens, {"reason": str(failure)})
                raise failure from None
            finally:
                self.processor_share = meter.share()
                self.display.close()
                self.journal.flush()

    def _joined(self, own: StopRequests) -> StopCheck:
        """Begin to train together with the other ranks; return the stop requests of all."""
        parallel.announce(description(self.outline, self.state))
        exchange = self.training.distribute()
        # Sharding has made another optimizer.
        self.saver = Saver(
            self.run.checkpoints, self.recipe, self.training.model, self.training.optimizer, self.storage
        )
        stop = AgreedStop(own, exchange)
        exchange.agree()
        return stop

    def _out_of_memory(self, error: Exception) -> OutOfMemory:
        """Return the error in one line: where it happened, and how to continue."""
        steps = checkpoint_steps(self.run.checkpoints)
        kept = f"the checkpoint of step {steps[-1]:,} is kept" if steps else "there is no checkpoint yet"
        size = smaller_micro_batch(self.policy, self.recipe.train.batch)
        less = "with more free memory" if size is None else f"--train.micro_batch {size}"
        return OutOfMemory(
            f"out of memory after step {self.state.step:,} ({first_line(error)}); {kept}: lmlab resume {self.run.name} {less}"
        )

    def replay(self, stop: StopCheck) -> Ending:
        """Run the loop until `stop` returns True, saving only what a rewind may need."""
        rewinds = self.recipe.train.on_spike == "rewind"
        # `stop` may read the state, which is a step behind the weights while a step is deferred.
        self.training.step.deferred = False
        return self._loop(stop, self._save if rewinds else lambda state, best: None, None, None).run()

    def _expected_time(self) -> Expected | None:
        """Return the time in the run's forecast; None for a resumed run, whose time began in another process."""
        if self.resumed:
            return None
        closing = self.plan.final_tokens / max(
            1, self.plan.tokens_in_all(self.outline.steps, self.recipe.evaluate.every)
        )
        with contextlib.suppress(LabError):
            return expected_time(self.run.read("forecast.json"), closing)
        return None

    def _corrected(self, found: Correction) -> None:
        """Write a correction beside the original forecast in forecast.json."""
        with contextlib.suppress(LabError):
            forecast = {**self.run.read("forecast.json"), "correction": found.to_json()}
            self.run.write("forecast.json", forecast, self.storage)

    def _loop(
        self, stop: StopCheck, save: Callable[[State, bool], None], peak: float | None, expected: Expected | None
    ) -> Loop:
        hooks = Hooks(
            record=self._record,
            evaluate=lambda state: self._evaluate(state, stop),
            save=save,
            check_save=self.saver.check_save,
            black_box=self._black_box,
            corrected=self._corrected,
            wall_seconds=self.clock.seconds,
            rewind=self._rewind,
        )
        flops = training_flops_per_token(self.recipe, self.dataset.vocabulary_size)
        pace = Pace(expected, self.policy.threads)
        sheet = None if peak is None else datasheet_of(self.policy)
        loop = Loop(
            self.recipe,
            self.training.step,
            self.state,
            hooks,
            self.display,
            stop,
            self.outlook,
            pace,
            flops,
            peak,
            None if sheet is None else sheet.flops,
        )
        loop.saved_step = self.saved_step
        return loop

    def whole_split(self, split: str = "valid") -> Evaluation:
        """Return the model's scores over a whole split, as they are reported."""
        return evaluate_split(self.training.scoring(self.dataset), split)

    def final_scores(self) -> Evaluation:
        """Return the final scores on validation: over the whole split, or the evaluations' sample of it."""
        return self.whole_split() if self.plan.final == "whole" else self._sampled("valid", self.plan.wanted[0])

    def final_training_scores(self) -> Evaluation:
        """Return the model's scores on a sample of the training split of the same size as that of `final_scores`."""
        return self._sampled("train", self.plan.final_train_tokens)

    def _record(self, file: str, kind: str, step: int, tokens: int, values: dict[str, Any]) -> None:
        self.journal.append(file, kind, step=step, tokens=tokens, **values)

    def _evaluate(self, state: State, stop: StopCheck) -> Scores:
        """Return scores and samples; nothing is written before all of it is complete, so that an interruption leaves no partial
        result."""
        try:
            valid = self._sampled("valid", self.plan.wanted[0], stop)
            train = self._sampled("train", self.plan.wanted[1], stop)
        except EvaluationStopped:
            raise Interrupted from None
        samples = self._samples(stop)
        gap = loss_gap(valid, train)
        self.run.append_units(state.evaluations, valid.bits_per_unit, self.storage)
        metrics = {
            "valid_loss": valid.loss,
            "valid_perplexity": valid.perplexity,
            "valid_accuracy": valid.accuracy,
            "valid_bits_per_byte": valid.bits_per_byte,
            "valid_tokens": valid.tokens,
            "train_loss": train.loss,
            "train_tokens": train.tokens,
            "gap": gap.estimate,
            "gap_interval": [gap.low, gap.high],
            "whole": valid.whole,
            "seconds": valid.seconds + train.seconds,
        }
        joules = self.energy.so_far()
        if joules is not None:
            metrics["joules"] = joules
        return Scores(
            valid_loss=valid.loss, metrics=metrics, samples=samples, line=evaluation_line(state, valid, train)
        )

    def _sampled(self, split: str, tokens: int, stop: StopCheck | None = None) -> Evaluation:
        return evaluate_sample(
            self.training.scoring(self.dataset), split, tokens, stop=None if stop is None else stop.stopping_now
        )

    def _samples(self, stop: StopCheck) -> tuple[dict[str, Any], ...]:
        prompts = self.recipe.evaluate.prompts
        if not prompts:
            return ()
        sampling = Sampling(tokens=self.recipe.evaluate.sample_tokens, seed=self.recipe.train.seed)
        tokenizer = self.dataset.tokenizer
        begin = begin_of(self.recipe.data, tokenizer)
        # Ranks agree on a stop in exchanges, and only rank 0 writes samples.
        stopping = stop.stopping if self.training.step.exchange is None else _never
        written = generate(self.training.model, tokenizer, prompts, sampling, begin=begin, stop_requested=stopping)
        if any(completion.reason == "stopped" for completion in written):
            raise Interrupted
        return tuple({"prompt": completion.prompt, "text": completion.text} for completion in written)

    def _black_box(self, state: State, verdict: StepVerdict, weights_step: int) -> str:
        exchange = self.training.step.exchange
        if exchange is not None and exchange.lockstep:
            return "left out: each process has a part of the model"
        value = black_box(self.training.step, self.policy, self.dataset, state, verdict, weights_step)
        return write_black_box(self.run.folder, state.step + 1, value, self.storage)

    def _rewind(self, state: State) -> State:
        """Restore the checkpoint that a spike at `state` requires, or the newest intact one before it."""
        target = rewind_target(self.recipe, state.step)
        present = [step for step in checkpoint_steps(self.run.checkpoints) if step <= target] or checkpoint_steps(
            self.run.checkpoints
        )[:1]
        for step in reversed(present):
            try:
                checkpoint, _ = find(self.run.checkpoints, str(step))
            except LabError as error:
                self.display.note(f"{error}; skipped")
                continue
            if "optimizer" in checkpoint.parts:
                break
        else:
            raise LabError(
                f"{self.run.name} has no intact checkpoint with its optimizer at or before step {target} to go back to"
            )
        restored, lengths = self.training.restore(checkpoint)
        for line in forget_lost_best(self.run.checkpoints, restored):
            self.display.note(line)
        # Before the lines are removed: a process that dies from here on returns to the same checkpoint when it's resumed.
        update_pointers(self.run.checkpoints, checkpoint.step, best_of(restored), self.storage)
        self.journal.rewind(lengths)
        self.run.truncate_units(restored.evaluations, self.storage)
        read_outlook(self.outlook, self.run)
        if self.training.step.exchange is not None:
            self.training.send_state(restored, checkpoint)
        return restored

    def _save(self, state: State, best: bool) -> None:
        # The line of a second save implies that the first is on the disk: so a resume never takes the run for one without
        # checkpoints.
        self.saver.check_save(True)
        # The line is written before its checkpoint, so that a resume from that checkpoint finds it.
        self._record("events", "checkpoint", state.step, state.tokens, {"best": best})
        self.journal.flush()
        state.wall_seconds = self.clock.seconds()
        self.saver.save(state, self.journal.lengths())


def _never() -> bool:
    return False


def open_session(
    outline: Outline,
    run: Run,
    journal: Journal,
    display: Display,
    checkpoint: Checkpoint | None = None,
    storage: Storage = DISK,
    clock: WallClock | None = None,
) -> Session:
    """Build model and optimizer, from the seed or from a checkpoint. Nothing is written.

    `clock` is that of this process (None: it begins now); the time of earlier ones is in the checkpoint.
    """
    recipe, vocabulary = outline.recipe, outline.dataset.vocabulary_size
    if checkpoint is not None:
        require_weights(checkpoint, recipe.model, vocabulary)
    training = set_up(recipe, outline.policy, outline.training, vocabulary, outline.steps, checkpoint)
    outlook = Outlook(training.step.rate, outline.steps, expected_loss(run))
    read_outlook(outlook, run)
    return Session(
        outline=outline,
        run=run,
        journal=journal,
        display=display,
        training=training,
        saver=Saver(run.checkpoints, recipe, training.model, training.optimizer, storage),
        outlook=outlook,
        storage=storage,
        energy=EnergyMeter(gpu=nvidia_gpu(outline.policy.torch_device)),
        clock=(clock or WallClock.of_call()).after(training.state.wall_seconds),
        saved_step=-1 if checkpoint is None else checkpoint.step,
    )


def expected_loss(run: Run) -> Estimate | None:
    """Return the final loss that was forecast for a run; None where there is none, or it can't be read."""
    with contextlib.suppress(LabError):
        return forecast_loss(run.read("forecast.json"))
    return None


def read_outlook(outlook: Outlook, run: Run) -> None:
    """Read the run's lines into `outlook`. Where they are damaged the training continues, and the outlook starts from the next
    lines."""
    with contextlib.suppress(LabError):
        outlook.read(run.read_lines("metrics"), run.read_lines("events"))


def evaluation_line(state: State, valid: Evaluation, train: Evaluation) -> str:
    """Return an evaluation as text."""
    bits = "" if valid.bits_per_byte is None else f", {valid.bits_per_byte:.4f} bits per byte"
    sampled = "" if valid.whole else f" (sample of {valid.tokens:,} tokens)"
    figures = f"perplexity {valid.perplexity:,.2f}, accuracy {valid.accuracy:.1%}{bits}"
    return f"step {state.step:,}  valid {valid.loss:.4f}, {figures}{sampled}  train {train.loss:.4f}"
