"""What a request is answered that asks for something it cannot get."""
from __future__ import annotations


class Refusal(ValueError):
    """A request that is not served.

    Args:
        reason (str): One sentence: what was wrong, and what to do.
        status (int): The HTTP status, 400 to 499.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status
