import os

import numpy as np
import pytest

from mmal.scores import Scores


def make(ids=(3, 1, 2), values=(0.5, -np.inf, 2.0), **kwargs):
    n = len(ids)
    return Scores(list(ids), np.array(values), np.arange(n) / 10, **kwargs)


@pytest.mark.parametrize('ids', [(3, 1, 2), ('c', 'a', 'b')])
def test_file_round_trip(tmp_path, ids):
    scores = make(
        ids,
        columns=dict(parts=np.ones((3, 2))),
        embeddings=np.eye(3, dtype=np.float32),
        unreadable={ids[0]: 'it is truncated'})
    path = str(tmp_path / 'scores.npz')
    scores.save(path)
    loaded = Scores.load(path)
    assert loaded.ids == list(ids) and type(loaded.ids[0]) is type(ids[0])
    assert loaded.unreadable == scores.unreadable
    np.testing.assert_array_equal(loaded.values, scores.values)
    np.testing.assert_array_equal(loaded.tiebreak, scores.tiebreak)
    np.testing.assert_array_equal(loaded.columns['parts'], np.ones((3, 2)))
    assert loaded.embeddings.dtype == np.float32


def test_damaged_files_are_named(tmp_path):
    path = str(tmp_path / 'scores.npz')
    make().save(path)
    with open(path, 'rb') as f:
        content = f.read()
    flipped = bytearray(content)
    flipped[content.index(b'values.npy') + 150] ^= 255
    for damaged in (b'', content[:50], content[:-30], bytes(flipped),
                    b'no zip file at all'):
        with open(path, 'wb') as f:
            f.write(damaged)
        with pytest.raises(ValueError, match='scores.npz holds no whole'):
            Scores.load(path)
    for arrays in (dict(ids=np.arange(3)),
                   dict(ids=np.array([{}, {}], object)),
                   dict(ids=np.arange(3), values=np.zeros(2),
                        tiebreak=np.zeros(3), bad_ids=[], bad_reasons=[])):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match='scores.npz holds no whole'):
            Scores.load(path)
    os.unlink(path)
    with pytest.raises(FileNotFoundError):
        Scores.load(path)


def test_without_optional_parts(tmp_path):
    path = str(tmp_path / 'scores.npz')
    make().save(path)
    loaded = Scores.load(path)
    assert loaded.embeddings is None
    assert loaded.columns == {} and loaded.unreadable == {}


def test_nan_is_an_error_that_names_the_images():
    with pytest.raises(ValueError, match=r'1 of 3 scores are NaN .* ids 1\)'):
        make(values=(1., np.nan, 2.))


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="'parts' has 2 rows"):
        make(columns=dict(parts=np.zeros(2)))


def test_of_and_take():
    scores = make(columns=dict(c=np.array([7, 8, 9])))
    assert scores.of([2, 3]) == [2.0, 0.5]
    rest = scores.take([0, 2])
    assert rest.ids == [3, 2]
    assert rest.columns['c'].tolist() == [7, 9]
