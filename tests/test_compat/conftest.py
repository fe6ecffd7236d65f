"""Registers the stand-in before a test module imports mmcv.ops."""
import mmal  # noqa: F401
