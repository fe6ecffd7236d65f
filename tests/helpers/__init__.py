"""What tests of several rooms share: tiny data sets and detectors."""
