"""Figures of runs: loss curves with learning rate and gradient norm, as PNG and SVG."""

from lmlab.report.curves import Against, CurveData, Series, read_curves
from lmlab.report.files import Format, write_report

__all__ = ["Against", "CurveData", "Format", "Series", "read_curves", "write_report"]
