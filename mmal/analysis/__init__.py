"""The papers' analyses: comparisons of runs, transfer, maps, calibration."""
