"""The only place that knows of versions of other packages."""


def setup() -> None:
    """Check versions and register what is missing."""
