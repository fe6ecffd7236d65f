"""Options that necks share."""


def check_dropout(value: float) -> float:
    """Return the probability of a zero.

    Raises:
        ValueError: If it is not in [0, 1).
    """
    if not 0 <= value < 1:
        raise ValueError(f'neck.dropout is {value}: give a probability in '
                         '[0, 1).')
    return value
