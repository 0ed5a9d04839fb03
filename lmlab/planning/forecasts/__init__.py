"""How long a run takes: the forecast before step 1, its calibration and its score."""
