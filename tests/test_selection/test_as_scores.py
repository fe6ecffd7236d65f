"""Selection without a run: scores by hand, and the examples of the docs."""
import doctest
import importlib
import os
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import mmal.selection
from mmal.scores import Scores, as_scores
from mmal.selection import CoreSet, TopN

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
MODULES = [m.name for m in pkgutil.iter_modules(mmal.selection.__path__)]


def test_plain_numbers_belong_to_positions():
    assert TopN().select([.1, .9, .5], 2) == [1, 2]
    assert TopN().select(np.array([.1, .9, .5]), 3) == [1, 2, 0]
    values = torch.tensor([.1, .9, .5], requires_grad=True)
    assert TopN().select(values, 2) == [1, 2]
    with pytest.raises(ValueError, match=r'the shape \[2, 1\]'):
        TopN().order(np.zeros((2, 1)))


def test_scores_that_are_scores_stay_so():
    scores = Scores('ab', [1, 2])
    assert as_scores(scores) is scores


def test_ties_do_not_depend_on_the_order():
    ids = list(range(50))
    chosen = TopN().select(Scores(ids, np.zeros(50)), 10)
    assert chosen != ids[:10]
    assert chosen == TopN().select(Scores(ids[::-1], np.zeros(50)), 10)


@pytest.mark.parametrize('arguments, message', [
    (([1, 2], [0.]), r"2 images, but 'values' has the shape \[1\]"),
    (([1, 2], [0., 1.], [0.]), r"'tiebreak' has the shape \[1\]"),
    (([1, 1], [0., 1.]), 'twice'),
    ((['a', 'b'], [0., np.nan]), 'NaN .image ids b'),
])
def test_mistakes(arguments, message):
    with pytest.raises(ValueError, match=message):
        Scores(*arguments)


def test_nothing():
    assert CoreSet('random').select(Scores([], []), 0) == []


@pytest.mark.parametrize('name', MODULES)
def test_examples_of_docstrings(name):
    module = importlib.import_module(f'mmal.selection.{name}')
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize('page, number', [
    ('scalable_al', 11), ('combining', 4)])
def test_examples_of_the_pages(page, number):
    path = os.path.join(ROOT, 'docs', f'{page}.md')
    found = doctest.testfile(path, module_relative=False)
    assert found.attempted >= number and found.failed == 0


def test_mmdet_is_not_imported():
    code = ('import sys, numpy as np\n'
            'from mmal.scores import Scores\n'
            'from mmal.selection import CoreSet\n'
            "s = Scores([7, 8, 9], [0, 1, 2])\n"
            "e = np.eye(3, dtype='f4')\n"
            "print(CoreSet('best').select(s, 2, embeddings=e)[0],"
            " 'mmdet' in sys.modules)")
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['9', 'False']
