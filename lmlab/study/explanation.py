"""What the difference of two runs or recipes is made of: the value, its files, and its words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import printable
from lmlab.files import write_json, write_text
from lmlab.study.case import Case
from lmlab.study.continuing import Continuations
from lmlab.study.ends import Ends
from lmlab.study.ledger import StudyResult
from lmlab.study.predictions import Tested
from lmlab.study.words import lines, markdown, table_head, table_row
from lmlab.training.table import Part

FORMAT = 1
KIND = "explanation"
SMALLEST_SHOWN = 0.00005
"""Nats: a smaller residual is 0 in the four digits that are printed."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why two ends came to different losses."""

    ends: Ends
    result: StudyResult
    """Of the bridging runs."""
    share: float
    """Of the steps that these had."""
    unmeasured: tuple[str, ...]
    """What differs and wasn't varied."""
    case: Case | None = None
    """Where the ends are the recipes of a worked example."""
    going_on: Continuations | None = None
    predictions: tuple[Tested, ...] = ()
    stopped: bool = False
    """Whether a signal ended it."""
    files: tuple[Path, ...] = ()

    @property
    def difference(self) -> float | None:
        """Of the two ends' own losses, the second minus the first; None where they aren't known."""
        one, other = (end.loss for end in self.ends)
        return None if one is None or other is None else other - one

    @property
    def bridged(self) -> float | None:
        """The same of the bridging runs at both ends; None until they are there."""
        return next((effect.verdict.difference for effect in self.result.effects if effect.kind == "stack"), None)

    @property
    def residual(self) -> float | None:
        """What the bridging runs leave over of the difference."""
        return None if self.bridged is None or self.difference is None else self.difference - self.bridged

    @property
    def proxy(self) -> str:
        """How the bridging runs are a scale model, in words; empty where they are of the ends themselves."""
        return "" if self.case is None else self.case.proxy

    def lines(self) -> list[Part]:
        """All of it for a terminal."""
        result = self.result
        found: list[Part] = [*lines(result.plan, result.cells, result.noise, result.effects), *self.notes()]
        if self.going_on is not None:
            found += ["", *self.going_on.lines()]
        if self.predictions:
            found += ["", "predictions:", *(f"  {entry.line()}" for entry in self.predictions)]
        return found

    def notes(self) -> list[str]:
        """The residual and what it may be, in words."""
        one, other = self.ends
        found = []
        if self.difference is not None:
            found.append(
                f"{one.name} {one.loss:.4f}, {other.name} {other.loss:.4f}: a difference of {self.difference:+.4f}"
                + (f" ({self.case.source})" if self.case is not None and self.case.source else "")
            )
        if self.proxy:
            found.append(f"proxies: the bridging runs are of a scale model: {self.proxy}")
        if self.share < 1:
            found.append(
                f"proxies: the bridging runs have {self.share:.3g} of the steps, so the shares are those of shorter trainings"
            )
        if self.residual is not None:
            found.append(self._residual_line(self.residual))
        elif self.unmeasured:
            found.append(f"not varied: {', '.join(self.unmeasured)}")
        return found

    def _residual_line(self, residual: float) -> str:
        if abs(residual) < SMALLEST_SHOWN:
            return "nothing is left unexplained"
        if self.result.plan.given:
            return f"{residual:+.4f} of it is seed noise: the shares add up to the difference between means over seeds"
        scale = ["the model's scale"] if self.proxy else []
        causes = [*scale, *(["the shorter trainings"] if self.share < 1 else []), *self.unmeasured, "chance"]
        return f"{residual:+.4f} is left unexplained; possible causes: {', '.join(causes)}"

    def to_json(self) -> dict[str, Any]:
        """For --json and explain.json."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "recompute": f"lmlab verify study-{self.result.plan.name}/explain.json --runs FOLDER",
            "runs": [end.to_json() for end in self.ends],
            "difference": self.difference,
            "bridged": self.bridged,
            "residual": self.residual,
            "proxy": self.proxy or None,
            "share_of_steps": self.share,
            "unmeasured": list(self.unmeasured),
            "continued": None if self.going_on is None else self.going_on.to_json(),
            "predictions": [entry.to_json() for entry in self.predictions],
            "study": self.result.to_json(),
        }

    def markdown(self) -> str:
        """explain.md."""
        result, plan = self.result, self.result.plan
        text = [f"# {self.case.about if self.case is not None and self.case.about else plan.about}", ""]
        text += [f"- {note}" for note in self.notes()] + ["", "![shares](shares.png)", ""]
        if self.going_on is not None:
            text += ["## Continued", "", *_continued(self.going_on), ""]
        if self.predictions:
            text += ["## Predictions", "", *table_head(["what", "predicted", "measured", "off", "held"])]
            text += [table_row(entry.cells()) for entry in self.predictions] + [""]
        body = markdown(plan, result.cells, result.noise, result.effects)
        return "\n".join(
            [*text, body.replace(f"# {plan.name}", "## Bridging runs", 1).replace("\n## Runs", "\n### Runs")]
        )

    def write(self, folder: Path) -> list[Path]:
        """explain.json and explain.md beside the study's own files."""
        write_json(folder / "explain.json", self.to_json())
        write_text(folder / "explain.md", printable(self.markdown(), lines=True))
        return [*self.result.files, folder / "explain.md", folder / "explain.json"]


def _continued(going_on: Continuations) -> list[str]:
    parent = going_on.parent
    text = [
        f"`{parent.name}` ({parent.loss:.4f}) for {going_on.steps:,} more steps, warmed up again. The first row is what the steps "
        "do, the others what a setting does beside them.",
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
