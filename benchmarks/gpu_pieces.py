"""The pieces of `benchmarks.gpu`: each takes the place to run, and returns figures as JSON values."""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu_shapes import CASES, GPT2_TOKENS, Case, Place, with_settings
from benchmarks.machine import ROOT
from benchmarks.nanogpt import load_model_module
from lmlab import LabError
from lmlab.data.tokenizers.bytes import Bytes
from lmlab.generation.decoding import generate
from lmlab.generation.settings import Sampling
from lmlab.hardware.cpu import physical_cores
from lmlab.hardware.datasheet import card_here, datasheet_peak
from lmlab.hardware.device import choose_device, synchronise
from lmlab.hardware.memory import peak_memory_bytes, release_device_memory
from lmlab.hardware.peak import measured_peak_flops
from lmlab.hardware.precision import choose_precision
from lmlab.model.build import build_model
from lmlab.model.cost import flops_per_token
from lmlab.model.initial import initialise
from lmlab.training.memory import step_bytes
from lmlab.training.policy import choose_policy
from lmlab.training.setup import Training, set_up

ROUNDS, TURN_SECONDS = 5, 4.0
STREAMS, WRITTEN_TOKENS = (1, 64), 200
TOLERANCE = 1e-4


def training_of(case: Case, place: Place, **settings: Any) -> Training:
    """Return a training at its first step, under the policy that a run would have."""
    recipe = case.recipe(place, **settings)
    policy = choose_policy(recipe, vocabulary=case.vocabulary)
    return set_up(recipe, policy, case.tokens(), case.vocabulary, recipe.train.steps)


def smoke(place: Place) -> dict[str, Any]:
    """Three steps of each combination: finite losses, and those of fp32 near the CPU's; a training that changes devices."""
    rows = []
    for kind in ("gpt", "context"):
        case = Case(name=kind, settings={"model.kind": kind, "model.context": 32, "train.batch": 4}, vocabulary=65)
        for optimizer in ("adamw", "muon"):
            for precision in ("fp32", "tf32", "bf16", "fp16"):
                for compiled in ("off", "on") if kind == "gpt" else ("off",):
                    settings = {"optim.kind": optimizer, "train.precision": precision, "train.compile": compiled}
                    rows.append({"kind": kind, **settings, **_three_steps(case, place, settings)})
    found = {
        "rows": rows,
        "broken": [row for row in rows if "failed" not in row and not row["finite"]],
        **_there_and_back(place),
    }
    if importlib.util.find_spec("pytest") is None:
        return {**found, "marked": "left out: pytest isn't installed"}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]
    marked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return {**found, "marked": marked.stdout.strip().splitlines()[-1][:300]}


def _three_steps(case: Case, place: Place, settings: dict[str, Any]) -> dict[str, Any]:
    small = {
        "model.layers": 2,
        "model.width": 64,
        **({"model.heads": 2} if case.name == "gpt" else {"model.hidden": 64, "model.vector": 64}),
    }
    try:
        training = training_of(with_settings(case, **small), place, **settings)
        losses = [training.take().loss for _ in range(3)]
    except LabError as error:
        return {"failed": str(error)[:200]}
    return {"losses": losses, "finite": all(loss == loss for loss in losses), "policy": training.step.policy.precision}


def _there_and_back(place: Place) -> dict[str, Any]:
    """Two steps on the CPU, two on the device, two on the CPU again, against six on the CPU."""
    case = with_settings(CASES[0], **{"model.layers": 2, "model.width": 64, "model.heads": 2, "train.batch": 4})
    cpu = Place(device="cpu", quick=place.quick)
    settings = {"train.precision": "fp32", "train.engine": "torch", "train.compile": "off"}
    whole = training_of(case, cpu, **settings)
    expected = [whole.take().loss for _ in range(6)]
    losses: list[float] = []
    earlier: Training | None = None
    for where in (cpu, place, cpu):
        training = training_of(case, where, **settings)
        if earlier is not None:
            training.model.load_state_dict(earlier.model.state_dict())
            training.optimizer.load_state_tensors(earlier.optimizer.state_tensors())
            training.state.become(earlier.state)
        losses += [training.take().loss for _ in range(2)]
        earlier = training
    apart = max(abs(one / other - 1) for one, other in zip(losses, expected, strict=True))
    return {"there_and_back": {"losses": losses, "expected": expected, "apart": apart, "equal": apart < TOLERANCE}}


def peak(place: Place) -> dict[str, Any]:
    """The FLOP/s of products by precision, and the datasheet's."""
    device, found = choose_device(place.device), {}
    for name, dtype in (
        ("fp32", torch.float32),
        ("tf32", torch.float32),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
    ):
        with contextlib.suppress(LabError):
            choose_precision(name, device)
            torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
            sheet = datasheet_peak(card_here(device), name)
            measured = measured_peak_flops(device, dtype, 0.1 if place.quick else 1.0)
            found[name] = {"measured": measured, "datasheet": None if sheet is None else sheet.flops}
    return {"flops": found}


def speed(place: Place) -> dict[str, Any]:
    """Tokens a second of both cases in turn with nanoGPT's, in bf16 where there is a GPU."""
    rows, left_out = [], []
    precision = "bf16" if place.device.startswith("cuda") else "fp32"
    for case in CASES:
        sides: dict[str, Callable[[], object]] = {}
        for compiled in ("off", "on"):
            # A training is built when its turn comes first, so that a failure of one leaves the others.
            try:
                training = training_of(case, place, **{"train.precision": precision, "train.compile": compiled})
            except LabError as error:
                left_out.append(f"{case.name}, compile {compiled}: {error}")
                continue
            sides[f"lmlab, compile {compiled}"] = training.take
            if training.step.deferred:
                sides[f"lmlab, compile {compiled}, deferred"] = _deferred_step(training)
        recipe = case.recipe(place)
        if place.nanogpt is None:
            left_out.append("nanoGPT: --nanogpt PATH names a checkout")
        else:
            sides["nanoGPT, compiled"] = _nanogpt_step(case, place)
        tokens = recipe.train.batch * recipe.model.context
        flops = flops_per_token(recipe.model, case.vocabulary).training
        for name, rates in _in_turn(sides, place, tokens).items():
            row = {"case": case.name, "side": name, "tokens_per_second": rates}
            rows.append({**row, "flops": statistics.median(rates) * flops if rates else None})
    return {"rows": rows, "left_out": left_out}


def _in_turn(sides: dict[str, Callable[[], object]], place: Place, tokens: int) -> dict[str, list[float]]:
    """Return each side's tokens a second in each round: A B C, A B C, ..."""
    device = choose_device(place.device)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for step in sides.values():  # compile and warm up
        for _ in range(3):
            step()
    for _ in range(1 if place.quick else ROUNDS):
        for name, step in sides.items():
            synchronise(device)
            started, count = time.perf_counter(), 0
            while time.perf_counter() - started < (0.2 if place.quick else TURN_SECONDS):
                step()
                count += 1
            synchronise(device)
            rates[name].append(count * tokens / (time.perf_counter() - started))
    return rates


def _deferred_step(training: Training) -> Callable[[], object]:
    """Return a function that launches a step and reads the numbers of the one before, as a run does; it shares the training."""
    launched: list[Callable[[], object]] = []

    def step() -> None:
        launched.append(training.step.launch(training.state.step, training.state.cursor))
        training.state.step += 1
        training.state.cursor += training.recipe.train.batch
        if len(launched) > 1:
            launched.pop(0)()

    return step


def _nanogpt_step(case: Case, place: Place) -> Callable[[], object]:
    """Return a training step of nanoGPT as its train.py makes it: bf16 autocast, compiled, fused AdamW, clipping, the loss read."""
    assert place.nanogpt is not None
    device = choose_device(place.device)
    recipe = case.recipe(place)
    module = load_model_module(place.nanogpt)
    shape = {"n_layer": recipe.model.layers, "n_head": recipe.model.heads, "n_embd": recipe.model.width}
    config = module.GPTConfig(
        block_size=recipe.model.context, vocab_size=case.vocabulary, dropout=0.0, bias=False, **shape
    )
    model = module.GPT(config).to(device)
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), device.type)
    called = torch.compile(model)
    half = torch.autocast(device.type, torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()
    data = torch.from_numpy(case.tokens().astype("int64"))
    batch, window = recipe.train.batch, recipe.model.context
    generator = torch.Generator().manual_seed(1)

    def step() -> None:
        starts = torch.randint(len(data) - window, (batch,), generator=generator)
        rows = torch.stack([data[first : first + window + 1] for first in starts]).to(device, non_blocking=True)
        with half:
            _, loss = called(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    return step


def memory(place: Place) -> dict[str, Any]:
    """The peak of a step by micro-batch, uncompiled and compiled, against the formula."""
    device, rows = choose_device(place.device), []
    for case in CASES:
        for compiled in ("off", "on"):
            for size in (1, 4, 16):
                settings = {"train.batch": size, "train.compile": compiled}
                release_device_memory(device)
                try:
                    training = training_of(with_settings(case, **settings), place)
                    for _ in range(2):
                        training.take()
                except LabError as error:
                    rows.append({"case": case.name, **settings, "failed": str(error)[:200]})
                    continue
                policy = training.step.policy
                expected = step_bytes(
                    training.recipe, case.vocabulary, policy.micro_batch, policy.element_bytes, device.type
                )
                rows.append(
                    {
                        "case": case.name,
                        **settings,
                        "micro_batch": policy.micro_batch,
                        "peak": peak_memory_bytes(device),
                        "formula": expected,
                    }
                )
                del training
    return {"rows": rows}


def generation(place: Place) -> dict[str, Any]:
    """Tokens a second of the large model's texts, alone and side by side."""
    device, case, rows = choose_device(place.device), CASES[1], []
    recipe, tokenizer = case.recipe(place), Bytes(documents_end=False)
    model = build_model(recipe.model, tokenizer.vocabulary_size)
    initialise(model, 1)
    model.to(device).eval()
    tokens = 20 if place.quick else WRITTEN_TOKENS
    tokens = min(tokens, recipe.model.context - 1)
    for streams in STREAMS:
        for number in range(2):  # the first one compiles and fills caches
            started = time.perf_counter()
            generate(
                model, tokenizer, ["\n"] * streams, Sampling(tokens=tokens, seed=number + 1, temperature=0.8, top_k=200)
            )
            synchronise(device)
            seconds = time.perf_counter() - started
        rows.append({"side": "lmlab", "streams": streams, "tokens_per_second": streams * tokens / seconds})
    if place.nanogpt is None:
        return {"rows": rows, "left_out": ["nanoGPT: --nanogpt PATH names a checkout"]}
    module = load_model_module(place.nanogpt)
    shape = {"n_layer": recipe.model.layers, "n_head": recipe.model.heads, "n_embd": recipe.model.width}
    config = module.GPTConfig(
        block_size=recipe.model.context, vocab_size=tokenizer.vocabulary_size, dropout=0.0, bias=False, **shape
    )
    theirs = module.GPT(config).to(device).eval()
    for streams in STREAMS:
        for _ in range(2):
            started = time.perf_counter()
            theirs.generate(
                torch.zeros(streams, 1, dtype=torch.long, device=device), tokens, temperature=0.8, top_k=200
            )
            synchronise(device)
            seconds = time.perf_counter() - started
        rows.append({"side": "nanoGPT", "streams": streams, "tokens_per_second": streams * tokens / seconds})
    return {"rows": rows, "vocabulary": tokenizer.vocabulary_size, "not": f"the vocabulary of {GPT2_TOKENS:,}"}


def cores(place: Place) -> dict[str, Any]:
    """Seconds of a step by the native CPU engine and by PyTorch on more and more cores."""
    cpu, rows = Place(device="cpu", quick=place.quick), []
    counts = sorted({1, 2, 4, 8, 16, physical_cores()} & set(range(1, physical_cores() + 1)))
    small = with_settings(
        CASES[0], **{"model.layers": 4, "model.heads": 4, "model.width": 128, "model.context": 64, "train.batch": 12}
    )
    for name, case in (("0.8M T64 B12", small), ("10.8M T256 B16", with_settings(CASES[0], **{"train.batch": 16}))):
        for engine in ("native", "torch"):
            for threads in counts:
                settings = {"train.engine": engine, "train.threads": threads}
                try:
                    training = training_of(case, cpu, **settings)
                except LabError as error:
                    rows.append({"case": name, **settings, "failed": str(error)[:200]})
                    break
                times = []
                began = time.perf_counter()
                while len(times) < 4 or (time.perf_counter() - began < 3.0 and not place.quick):
                    started = time.perf_counter()
                    training.take()
                    times.append(time.perf_counter() - started)
                rows.append({"case": name, **settings, "step_seconds": statistics.median(times[2:])})
    return {"rows": rows}
