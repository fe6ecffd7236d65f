from mmengine.config import Config

from mmal.engine.fingerprint import differences, digest, fingerprint

BASE = dict(
    work_dir='a',
    model=dict(type='FCOS', layers=[1, 2]),
    train_dataloader=dict(batch_size=8, num_workers=2),
    active_learning=dict(
        data=dict(ann_file='a.json'), rounds=4, budget=dict(size=5),
        selector=dict(type='mmal.CoreSet')))


def changed(**options):
    cfg = Config(BASE)
    cfg.merge_from_dict(options)
    return fingerprint(cfg)


def test_what_does_not_matter_may_change():
    same = fingerprint(Config(BASE))
    for options in ({'work_dir': 'b'}, {'active_learning.rounds': 9},
                    {'active_learning.data.source': 'https://b'},
                    {'active_learning.on_bad_image': 'skip'},
                    {'active_learning.on_new_environment': 'refuse'},
                    {'active_learning.candidates': 'unlabelled'},
                    {'active_learning.budget.repeats': 'free'},
                    # what people take, where images are counted
                    {'active_learning.budget.per_image': 5,
                     'active_learning.budget.per_class': {'cat': 3}},
                    {'active_learning.score_precision': 'fp32'},
                    {'active_learning.selector.device': 'cuda'},
                    {'launcher': 'pytorch'}, {'resume': True}):
        assert digest(changed(**options)) == digest(same)


def test_what_matters_is_named():
    same = fingerprint(Config(BASE))
    other = changed(**{
        'active_learning.budget.size': 6,
        'active_learning.score_precision': 'bf16',
        'train_dataloader.batch_size': 4
    })
    assert digest(other) != digest(same)
    assert differences(same, other) == [
        'active_learning.budget.size: 5 -> 6',
        'active_learning.score_precision: (none) -> bf16',
        'train_dataloader.batch_size: 8 -> 4'
    ]


def test_what_people_take_matters_where_it_is_spent():
    for unit, keys in (('boxes', ['per_image']),
                       ('seconds', ['per_image', 'per_box', 'per_class'])):
        spends = {'active_learning.budget.unit': unit}
        for key in ('per_image', 'per_box', 'per_class'):
            given = {f'active_learning.budget.{key}': 5}
            differs = changed(**spends, **given) != changed(**spends)
            assert differs == (key in keys), (unit, key)


def test_an_added_key_is_a_difference():
    other = changed(**{'model.dropout': 0.1})
    assert differences(fingerprint(Config(BASE)), other) == [
        'model.dropout: (none) -> 0.1'
    ]
