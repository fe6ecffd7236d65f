"""Where the chosen images lie, on a run whose detector nobody trained."""
import os

import numpy as np
import pytest
from helpers.served_runs import served_run, train
from helpers.tiny import tiny_fcos
from helpers.tiny_classifier import tiny_classification, tiny_classifier

from mmal.analysis.finished_round import FinishedRound
from mmal.analysis.selected_map import selected_map
from mmal.commands import main
from mmal.fileio import write_json
from mmal.pool import Pool, UnreadableImage, load_coco
from mmal.pool.layout import WorkDir
from mmal.reporting.pool_map import PoolMap
from mmal.reporting.selected_map import draw_selected_map
from mmal.scores import Scores
from mmal.scoring import ScoringData, Split
from mmal.scoring.embeddings import EmbeddingFile
from mmal.scoring.embeddings.embed import embed_split


@pytest.fixture
def run(tmp_path):
    """Two rounds with checkpoints: 4 images, then 3; 3 more were chosen."""
    path = served_run(str(tmp_path))
    train(path, 1, tiny_fcos(seed=1))
    pool = Pool(load_coco(str(tmp_path / 'data' / 'pool.json')).ids)
    for size in (4, 3, 3):
        pool.commit(pool.unlabelled()[:size])
    pool.save(WorkDir(path).state, config_hash='', seed=0)
    return path


def pool_ids(run):
    return load_coco(os.path.join(os.path.dirname(run), 'data',
                                  'pool.json')).ids


def test_every_image_has_the_round_in_which_it_was_labelled(run):
    ids = pool_ids(run)
    found = selected_map(FinishedRound(run, 1))
    assert found.ids == ids and found.points.points.shape == (len(ids), 2)
    assert found.rounds == [0] * 4 + [1] * 3 + [2] * 3 + [None] * (
        len(ids) - 10)
    assert [name for name, _ in found.groups.values()] == [
        'not chosen', 'first labelled set', 'chosen after round 0',
        'chosen after round 1']
    # of an earlier round: what came later is not chosen yet
    earlier = selected_map(FinishedRound(run, 0))
    assert set(earlier.rounds) == {None, 0, 1}
    # another detector, another map
    assert not np.allclose(earlier.points.points, found.points.points)


def test_the_embeddings_are_those_of_the_rounds_detector(run, tmp_path):
    model, cfg = FinishedRound(run, 1).model()
    dataset = dict(cfg.train_dataloader.dataset,
                   pipeline=cfg.test_dataloader.dataset.pipeline)
    data = ScoringData(dict(all=Split(dataset, False)), num_workers=0,
                       progress=False)
    ids, rows = embed_split(model, data, 'all',
                            EmbeddingFile(str(tmp_path / 'rows.npy')))
    expected = PoolMap.of(1, ids, rows, {}, 'pca', whole=True)
    found = selected_map(FinishedRound(run, 1))
    assert found.ids == expected.ids
    np.testing.assert_allclose(found.points.points, expected.points.points,
                               atol=1e-4)


def test_embeddings_that_a_query_has_kept_are_used(run):
    folder = WorkDir(run).round(1)
    ids = pool_ids(run)
    rows = np.random.default_rng(0).normal(size=(len(ids), 5)).astype('f4')
    Scores(ids[7:], np.arange(len(ids) - 7.),
           embeddings=rows[7:]).save(folder.scores)
    np.save(folder.embeddings, rows[7:])
    os.unlink(os.path.join(folder.path, 'epoch_1.pth'))
    assert selected_map(FinishedRound(run, 1)).ids == ids[7:]
    # with those of the labelled images
    np.save(folder.embeddings_labelled, rows[:7])
    write_json(folder.labelled, dict(images=[dict(id=i) for i in ids[:7]]))
    found = selected_map(FinishedRound(run, 1))
    assert found.ids == ids[7:] + ids[:7]
    assert found.rounds[-7:] == [0] * 4 + [1] * 3


@pytest.mark.parametrize('part', [
    "scorer=dict(type='mmal.EntropyNMSScorer')",
    "scorer=dict(type='mmal.RandomScorer'), "
    "embedder=dict(type='mmal.ClassDistributionEmbedder')"])
def test_lists_of_detections_are_no_places_in_a_plane(run, part):
    expected = selected_map(FinishedRound(run, 1)).points.points
    folder = WorkDir(run).round(1)
    ids = pool_ids(run)
    Scores(ids[7:], np.arange(len(ids) - 7.), embeddings=np.ones(
        (len(ids) - 7, 5), np.float32)).save(folder.scores)
    np.save(folder.embeddings, np.ones((len(ids) - 7, 5), np.float32))
    with open(WorkDir(run).config, 'a') as f:
        f.write(f'\nactive_learning.update({part})\n')
    found = selected_map(FinishedRound(run, 1))
    assert found.ids == ids
    np.testing.assert_allclose(found.points.points, expected, atol=1e-5)


def test_a_classifier_has_a_map_too(tmp_path):
    (tmp_path / 'data').mkdir()
    cfg = tiny_classification(str(tmp_path / 'data'))
    run = served_run(str(tmp_path), tiny_classifier(), cfg=cfg)
    pool = Pool(pool_ids(run))
    pool.commit(pool.unlabelled()[:4])
    pool.save(WorkDir(run).state, config_hash='', seed=0)
    found = selected_map(FinishedRound(run, 0))
    assert found.ids == pool_ids(run)
    assert found.rounds == [0] * 4 + [None] * (len(found.ids) - 4)


def test_an_unreadable_image_is_left_out(run):
    ids = pool_ids(run)
    pool = Pool(ids)
    pool.set_unreadable([UnreadableImage(ids[-1], 'a', 'a', 'truncated')])
    pool.commit(ids[:4])
    pool.save(WorkDir(run).state, config_hash='', seed=0)
    assert selected_map(FinishedRound(run, 0)).ids == ids[:-1]


def test_the_picture_has_each_round_in_its_colour(run):
    import cv2
    found = selected_map(FinishedRound(run, 1))
    content = draw_selected_map(found)
    for form in ('.png', '.svg'):
        assert draw_selected_map(found, form) == draw_selected_map(found, form)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), 1)[..., ::-1]
    assert image.shape == (750, 1125, 3)
    for number, (_, colour) in found.groups.items():
        if number is not None:  # the others are half transparent
            rgb = [int(colour[i:i + 2], 16) for i in (1, 3, 5)]
            assert (image == rgb).all(-1).any()
    svg = draw_selected_map(found, '.svg').decode()
    assert svg.startswith('<?xml') and found.groups[2][1] in svg


def test_the_command(run, tmp_path, capsys, monkeypatch):
    out = str(tmp_path / 'map.png')
    assert main(['analysis', 'selected-map', run, '--out', out]) == 0
    assert out in capsys.readouterr().out and os.path.getsize(out) > 1000
    assert main(['analysis', 'selected-map', run, '--out', 'map.gif']) == 1
    assert 'ends in .png or .svg' in capsys.readouterr().err
    monkeypatch.setattr('mmal.commands.options.find_spec', lambda name: None)
    assert main(['analysis', 'selected-map', run, '--map', 'tsne', '--out',
                 out]) == 1
    assert "pip install 'mmdet-al[tsne]'" in capsys.readouterr().err
