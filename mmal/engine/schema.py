"""What the typed schemas of a config share: reading, and saying what is wrong.

A schema is a pydantic model whose fields are described by what to give; the
messages are made of these descriptions.
"""
from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, Optional

import numpy as np
from mmengine.config.lazy import LazyAttr, LazyObject
from pydantic import BaseModel, ConfigDict, ValidationError

# Far beyond what anybody writes, and far from python's limit of recursion.
MAX_DEPTH = 30
_MAX_SHOWN = 8
_MISSING = 'must be set'
# What mmengine leaves in a dict that it merged with nothing.
_LEFTOVERS = ('_scope_', '_delete_')


class Block(BaseModel):
    """A dict of a config: every key is known and described."""

    model_config = ConfigDict(
        extra='forbid', frozen=True, arbitrary_types_allowed=True)

    def to_dict(self) -> dict:
        """The keys that are set, as in the config."""
        return self.model_dump(exclude_none=True)


class Problems(ValueError):
    """Several mistakes of a config at once.

    Args:
        problems (iterable[tuple[str, str]]): Dotted key and what to say of
            it, e.g. ``('budget.size', 'is 0: give …')``.
    """

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        problems = list(problems)
        # a key that is only misspelt is not missing as well
        misspelt = {(key.rpartition('.')[0], text) for key, text in problems}
        self.problems = [
            (key, text) for key, text in problems
            if not text.startswith(_MISSING) or
            (key.rpartition('.')[0],
             f'is not known. Did you mean {key.rpartition(".")[2]}?')
            not in misspelt
        ]
        super().__init__(self.message(''))

    def message(self, prefix: str) -> str:
        """One sentence, or a list of them; all keys below ``prefix``."""
        lines = [
            f'{clip(join_key(prefix, key), 100)} {text}'
            for key, text in self.problems
        ]
        if len(lines) == 1:
            return lines[0]
        more = len(lines) - _MAX_SHOWN
        return '\n  '.join([
            f'{prefix or "the config"} has {len(lines)} mistakes:',
            *(clip(line, 170) for line in lines[:_MAX_SHOWN]),
            *([f'… and {more} more'] if more > 0 else [])
        ])


def join_key(*keys: Any) -> str:
    """A dotted key: ``join_key('a', '', 'b', 0)`` is ``a.b.0``."""
    return '.'.join(str(k) for k in keys if k != '')


def short(value: Any, length: int = 80) -> str:
    """A value as a message shows it, never a whole pool or config."""
    if isinstance(value, int) and value.bit_length() > 200:
        return 'a number of more than 60 digits'
    if isinstance(value, type):
        return f'the class {value.__module__}.{value.__qualname__}'
    if isinstance(value, (LazyObject, LazyAttr)):
        return f'an import of {value}'
    show = reprlib.Repr()
    show.maxstring = show.maxother = length - 20
    show.maxlevel, show.maxlong = 3, length
    if isinstance(value, Mapping) and type(value) is not dict:
        value = dict(value)
    return clip(show.repr(value), length)


def clip(text: str, length: int) -> str:
    """A text of at most so many characters, on one line."""
    text = ' '.join(text.split())
    return text if len(text) <= length else f'{text[:length - 1]}…'


def nearest(name: Any, known: Iterable[str]) -> str:
    """``Did you mean …?``, or the known names if none is near."""
    known = [str(k) for k in known]
    near = difflib.get_close_matches(str(name)[:100], known, n=1)
    if near:
        return f'Did you mean {near[0]}?'
    if not known:
        return 'There are no keys here.'
    return f'Known: {clip(", ".join(known), 300)}.'


def plain(value: Any, key: str = '', ours: bool = True) -> Any:
    """A part of a config as plain dicts, lists, tuples and values.

    mmengine's own dicts, its marks and numpy's numbers are gone, and what a
    pure-python config imports is imported.

    Args:
        value (Any): The part.
        key (str): Its dotted key, for the messages.
        ours (bool): Whether NaN, infinity and keys that are no texts are
            mistakes; mmdet has uses for them.

    Raises:
        Problems: If a key is no text, or a value is no number, nests too
            deeply or cannot be imported.
    """
    problems: list[tuple[str, str]] = []

    def read(value: Any, key: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            problems.append((key, f'is nested more than {MAX_DEPTH} levels '
                             'deep: no key needs that.'))
            return None
        if isinstance(value, (LazyObject, LazyAttr)):
            try:
                value = value.build()
            except Exception as e:  # importing runs anybody's code
                problems.append((
                    key, f'cannot be imported: {clip(str(e), 300)}. Repair '
                    'the import at the top of the config.'))
                return None
        if isinstance(value, dict):
            out = {}
            # not value.items(): mmengine's imports what is in it
            for name, item in dict.items(value):
                if ours and not isinstance(name, str):
                    problems.append((key, f'has the key {short(name)}, which '
                                     'is no name: keys are texts.'))
                elif name not in _LEFTOVERS:
                    out[name] = read(item, join_key(key, name), depth + 1)
            return out
        if isinstance(value, (list, tuple)):
            items = [
                read(item, join_key(key, i), depth + 1)
                for i, item in enumerate(value)
            ]
            return items if isinstance(value, list) else tuple(items)
        if isinstance(value, np.generic):
            value = value.item()
        if ours and isinstance(value, float) and not math.isfinite(value):
            problems.append((key, f'is {value}: give a finite number.'))
        return value

    out = read(value, key, 0)
    if problems:
        raise Problems(problems)
    return out


def problems_of(error: ValidationError, schema: type[BaseModel]) -> Problems:
    """What pydantic found, in the words of the schema."""
    problems = []
    for item in error.errors(include_url=False):
        key = join_key(*item['loc'])
        cause = (item.get('ctx') or {}).get('error')
        model, expected = _described(schema, item['loc'])
        if isinstance(cause, Problems):
            problems += [(join_key(key, k), text)
                         for k, text in cause.problems]
        elif item['type'] == 'extra_forbidden':
            known = model.model_fields if model else ()
            problems.append(
                (key, f'is not known. {nearest(item["loc"][-1], known)}'))
        elif item['type'] == 'invalid_key':
            problems.append((key, 'is no name: keys are texts.'))
        elif item['type'] == 'missing':
            problems.append((key, f'{_MISSING}: give {expected}.'))
        elif item['type'] == 'value_error':
            problems.append((key, str(cause)))
        else:
            problems.append(
                (key, f'is {short(item["input"])}: give {expected}'
                 f'{_hint(item["input"])}.'))
    return Problems(problems)


def _described(schema: type[BaseModel], loc: tuple
               ) -> tuple[Optional[type[BaseModel]], str]:
    """The innermost model on the way to a place, and what belongs there."""
    model: Optional[type[BaseModel]] = schema
    expected = 'another value'
    for key in loc:
        field = model.model_fields.get(key) if model else None
        if field is None:
            break
        expected = field.description or expected
        inner = [field.annotation, *getattr(field.annotation, '__args__', ())]
        models = [t for t in inner
                  if isinstance(t, type) and issubclass(t, BaseModel)]
        if models:
            model = models[0]
        elif key != loc[-1]:
            model = None
    return model, expected


def _hint(value: Any) -> str:
    """What people most often have in mind who write such a value."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return ''
        return ', without quotes'
    return ''
