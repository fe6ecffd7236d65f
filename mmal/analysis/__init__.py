"""What the papers analyse: comparisons of runs, transfer, maps, calibration."""
