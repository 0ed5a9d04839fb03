"""The attribution of a difference between two runs or recipes to factors: the value, its files, and its text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import printable
from lmlab.files import write_json, write_text
from lmlab.study.explain.case import Case
from lmlab.study.explain.continuing import Continuations
from lmlab.study.explain.endpoints import Endpoints
from lmlab.study.explain.predictions import Tested
from lmlab.study.explain.regime import Regime
from lmlab.study.explain.residual import Residual, residual_of_others, residual_of_runs
from lmlab.study.grid.ledger import StudyResult
from lmlab.study.grid.words import lines, markdown, table_head, table_row
from lmlab.training.table import Part

FORMAT = 1
KIND = "explanation"


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why two endpoints reached different losses."""

    endpoints: Endpoints
    result: StudyResult
    """The results of the interpolating runs."""
    share: float
    """The share of the steps that these had."""
    unmeasured: tuple[str, ...]
    """What differs and wasn't varied."""
    case: Case | None = None
    """Set where the endpoints are the recipes of a worked example."""
    going_on: Continuations | None = None
    predictions: tuple[Tested, ...] = ()
    regimes: tuple[Regime, ...] = ()
    """How the interpolating runs of each endpoint end, where they aren't full trainings of it."""
    stopped: bool = False
    """Whether a signal interrupted it."""
    files: tuple[Path, ...] = ()

    @property
    def difference(self) -> float | None:
        """The endpoints' own losses, the second minus the first; None where they are unknown."""
        one, other = (end.loss for end in self.endpoints)
        return None if one is None or other is None else other - one

    @property
    def interpolated(self) -> float | None:
        """The same difference between the interpolating runs at both endpoints; None until they exist."""
        whole = (effect for effect in self.result.effects if effect.kind == "stack" and effect.bound is None)
        return next((effect.verdict.difference for effect in whole), None)

    @property
    def residual(self) -> float | None:
        """What the interpolating runs don't explain of the difference; None where one of the two is unknown."""
        return None if self.left_over is None else self.left_over.value

    @property
    def left_over(self) -> Residual | None:
        """The residual with its interval; None where unknown."""
        one, other = (end.loss for end in self.endpoints)
        stack = next((effect for effect in self.result.effects if effect.kind == "stack"), None)
        if stack is None or one is None or other is None:
            return None
        plan, counts = self.result.plan, self.result.cells.counts()
        if not plan.given:
            return residual_of_others((one, other), stack.verdict.to_json())
        seeds = counts[(0,) * len(plan.factors)], counts[(1,) * len(plan.factors)]
        return residual_of_runs((one, other), stack.verdict.to_json(), self.result.noise.to_json(), seeds)

    @property
    def proxy(self) -> str:
        """A description of the scale models in the interpolating runs; empty where these train the endpoints' own recipes."""
        return "" if self.case is None else self.case.proxy

    @property
    def interpolating(self) -> str:
        """What the interpolating runs train, where it isn't the endpoints at full length; else empty."""
        return "scale model" if self.proxy else "shorter training" if self.share < 1 else ""

    @property
    def difference_name(self) -> str:
        """The name of the difference that is attributed."""
        return (
            "reported difference" if any(end.record is None for end in self.endpoints) else "difference of the two runs"
        )

    @property
    def residual_name(self) -> str:
        """The name of the residual, for a table."""
        return "seed noise" if self.result.plan.given else "left unexplained"

    def lines(self) -> list[Part]:
        """Return the text for a terminal."""
        result = self.result
        tables = lines(result.plan, result.cells, result.noise, result.effects, self._rows())
        found: list[Part] = [*tables, *self.notes()]
        if self.going_on is not None:
            found += ["", *self.going_on.lines()]
        if self.predictions:
            found += ["", "predictions:", *(f"  {entry.line()}" for entry in self.predictions)]
        return found

    def _rows(self) -> list[list[str]]:
        """Return the rows of the residual and of the difference, below the shares."""
        found = self.left_over
        if found is None or self.difference is None:
            return []
        interval = f"{found.low:+.4f} to {found.high:+.4f}"
        left = [
            self.residual_name,
            "residual of the interpolating runs",
            f"{found.value:+.4f}",
            interval,
            found.kind,
            "",
        ]
        one, other = self.endpoints
        whole = [self.difference_name, f"{one.loss:.4f} to {other.loss:.4f}", f"{self.difference:+.4f}", "", "", ""]
        return [left, whole]

    def notes(self) -> list[str]:
        """Return the regimes of the interpolating runs, the residual and its possible causes, as lines."""
        one, other = self.endpoints
        found = []
        if self.difference is not None:
            found.append(
                f"{one.name} {one.loss:.4f}, {other.name} {other.loss:.4f}: a difference of {self.difference:+.4f}"
                + (f" ({self.case.source})" if self.case is not None and self.case.source else "")
            )
        if self.proxy:
            found.append(f"proxies: the interpolating runs train a scale model: {self.proxy}")
        if self.share < 1:
            found.append(
                f"proxies: the interpolating runs have {self.share:.3g} of the steps, so the shares are those of shorter trainings"
            )
        found += [regime.line(self.interpolating) for regime in self.regimes]
        if self.left_over is not None:
            found.append(self._residual_line(self.left_over))
        elif self.unmeasured:
            found.append(f"not varied: {', '.join(self.unmeasured)}")
        return found

    def _residual_line(self, residual: Residual) -> str:
        if residual.nothing:
            return "nothing is left unexplained"
        if self.result.plan.given:
            return f"{residual.value:+.4f} of it is seed noise: the shares add up to the difference between means over seeds"
        scale = ["the model's scale"] if self.proxy else []
        causes = [*scale, *(["the shorter trainings"] if self.share < 1 else []), *self.unmeasured, "chance"]
        return (
            f"{residual.value:+.4f} ({residual.low:+.4f} to {residual.high:+.4f}) is left unexplained; possible causes: "
            f"{', '.join(causes)}. Its interval combines that of the interpolated difference with default seed noise "
            "of the two endpoints"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json and explain.json."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "recompute": f"lmlab verify study-{self.result.plan.name}/explain.json --runs FOLDER",
            "runs": [end.to_json() for end in self.endpoints],
            "difference": self.difference,
            "bridged": self.interpolated,
            "residual": self.residual,
            "residual_interval": None if self.left_over is None else self.left_over.to_json(),
            "regimes": [regime.to_json() for regime in self.regimes],
            "proxy": self.proxy or None,
            "share_of_steps": self.share,
            "unmeasured": list(self.unmeasured),
            "continued": None if self.going_on is None else self.going_on.to_json(),
            "predictions": [entry.to_json() for entry in self.predictions],
            "study": self.result.to_json(),
        }

    def markdown(self) -> str:
        """Return the text of explain.md."""
        result, plan = self.result, self.result.plan
        text = [f"# {self.case.about if self.case is not None and self.case.about else plan.about}", ""]
        text += [f"- {note}" for note in self.notes()] + ["", "![shares](shares.png)", ""]
        if self.going_on is not None:
            text += ["## Continued", "", *_continued(self.going_on), ""]
        if self.predictions:
            text += ["## Predictions", "", *table_head(["what", "loss", "predicted", "measured", "off", "held"])]
            text += [table_row(entry.cells()) for entry in self.predictions] + [""]
        body = markdown(plan, result.cells, result.noise, result.effects, self._rows())
        return "\n".join(
            [*text, body.replace(f"# {plan.name}", "## Interpolating runs", 1).replace("\n## Runs", "\n### Runs")]
        )

    def write(self, folder: Path) -> list[Path]:
        """Write explain.json and explain.md beside the study's own files, and return all of them."""
        write_json(folder / "explain.json", self.to_json())
        write_text(folder / "explain.md", printable(self.markdown(), lines=True))
        return [*self.result.files, folder / "explain.md", folder / "explain.json"]


def _continued(going_on: Continuations) -> list[str]:
    parent = going_on.parent
    text = [
        f"`{parent.name}` ({parent.loss:.4f}) for {going_on.steps:,} more steps, with a new warm-up. The first row is the effect "
        "of the steps, the others that of a setting beside them.",
        "",
        *table_head(["under", "validation", "training", "against", "difference", "95% interval", "verdict"]),
    ]
    for place, (run, (_, pair)) in enumerate(zip(going_on.runs, going_on.effects, strict=True)):
        found = pair.verdict
        train = "" if run.train_loss is None else f"{run.train_loss:.4f}"
        against = "before" if not place else going_on.runs[0].label
        cells = [run.label, f"{run.loss:.4f}", train, against]
        if found is None:
            cells += ["", "", pair.withheld]
        else:
            cells += [f"{found.difference:+.4f}", f"{found.low:+.4f} to {found.high:+.4f}", found.kind]
        text.append(table_row(cells))
    if going_on.left_out:
        text += ["", f"Not tried: another {', '.join(going_on.left_out)}."]
    return text
