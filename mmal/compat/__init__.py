"""The only place that knows of versions of other packages."""
from . import ops


def setup() -> None:
    """Check versions and register what is missing."""
    ops.register()
