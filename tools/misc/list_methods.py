"""Write docs/reference/methods.md: every scorer and selector there is.

    python tools/misc/list_methods.py

The first sentence, what it needs and the paper are read from the classes; a
test compares the page with them.
"""
import inspect
import os.path as osp
import re

import mmal.scoring
import mmal.selection
from mmal.fileio import write_text
from mmal.scoring import BaseScorer
from mmal.selection import BaseRanking, BaseSelector

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
PAGE = osp.join(ROOT, 'docs', 'reference', 'methods.md')
# class attribute -> what it means for a user
NEEDS = {
    'needs_labels': 'labelled images',
    'needs_committee': 'a committee',
    'needs_embeddings': 'embeddings',
    'needs_labelled': 'embeddings of labelled images',
    'needs_class_scores': 'class scores',
    'needs_class_weights': 'weights of classes',
    'needs_gradients': 'gradients of images',
    'needs_weights': 'scores >= 0',
}
HEAD = '''# All methods

A scorer says what each image is worth, a selector which images are chosen.
Any two go together if the scorer, or an embedder, gives what the selector
needs. Written from the classes by `python tools/misc/list_methods.py`.
'''


def sentence(text: str) -> str:
    """The first sentence, in one line that a table can hold."""
    # a formula in the middle of it is left to the docstring
    text = re.sub(r'\.\. math::.*?(\n\s*\n|$)', '… ', text, flags=re.S)
    text = ' '.join(text.split())
    first = re.split(r'(?<=[.!?])\s+(?=[A-Z"`])', text)[0]
    return first.replace('|', r'\|').replace('``', '`')


def row(cls: type, package: str) -> str:
    """A line of the table."""
    doc = inspect.getdoc(cls)
    needs = ', '.join(text for name, text in NEEDS.items()
                      if getattr(cls, name, False) is True
                      # a scorer that says so gives them
                      and (name, package) != ('needs_embeddings',
                                              mmal.scoring.__name__))
    if getattr(cls, 'needs_embedded', None):
        needs = needs.replace('embeddings',
                              f'embeddings of {cls.needs_embedded}', 1)
    # the rest of the sentence that begins with "Cost"; a line of a title may
    # begin so too
    cost = re.search(r'(?:\.\s+|\n\n)Costs?:? (.*)', doc, re.S)
    spent = sentence(cost[1]) if cost else ''
    page = package.split('.')[1]
    name = f'[`{cls.__name__}`]({page}.md#{package}.{cls.__name__})'
    return f'| {name} | {sentence(doc)} | {needs or "–"} | {spent or "–"} |'


def table(title: str, package, base: type, abstract: tuple = ()) -> str:
    """A section with all classes of a package that derive from a base."""
    classes = [getattr(package, name) for name in sorted(package.__all__)]
    rows = [row(c, package.__name__) for c in classes
            if inspect.isclass(c) and issubclass(c, base)
            and c not in (base, *abstract) and not inspect.isabstract(c)]
    return '\n'.join([f'\n## {title}\n', '| | what it does | needs | cost |',
                      '|---|---|---|---|', *rows, ''])


def page() -> str:
    """The whole page."""
    return HEAD + table('Scorers', mmal.scoring, BaseScorer) + table(
        'Selectors', mmal.selection, BaseSelector, (BaseRanking, ))


if __name__ == '__main__':
    write_text(PAGE, page())
