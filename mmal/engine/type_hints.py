"""The type hints of what a config builds, where a config can spell them."""
from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

from pydantic import TypeAdapter, ValidationError

_WORDS = {
    int: 'a whole number',
    float: 'a number',
    str: 'a text',
    bool: 'True or False',
    dict: 'a dict',
    type(None): 'None'
}
_UNIONS = (Union, getattr(types, 'UnionType', Union))


def hints_of(target: Callable) -> dict[str, Any]:
    """The types of the arguments of a class or function.

    Returns:
        dict: Name -> hint, of numbers, texts, flags, dicts, None, lists of
        them and any of several. An argument of another type, or of none, is
        left out.
    """
    if inspect.isclass(target):
        target = target.__init__
    try:
        hints = typing.get_type_hints(target)
    except Exception:  # a name that only a type checker sees
        return {}
    return {name: hint for name, hint in hints.items() if _is_spelled(hint)}


def _is_spelled(hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (*_UNIONS, list, Sequence, Mapping, dict):
        return all(map(_is_spelled, args))
    return hint in _WORDS


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: no text for a number, no flag for one."""
    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def in_words(hint: Any) -> str:
    """A type as a person says it.

    Examples:
        >>> in_words(typing.Optional[int])
        'a whole number or None'
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, Sequence):
        return f'a list of values, each {in_words(args[0])}'
    if origin in (Mapping, dict):
        return _WORDS[dict]
    if origin in _UNIONS:
        return ' or '.join(map(in_words, args))
    return _WORDS[hint]
