"""The classes of a data set's config are those that mmdet will read."""
import pytest

from mmal.engine.round_config import classes_of


def dataset(classes=(), **keys):
    return dict(dict(type='mmdet.CocoDataset',
                     metainfo=dict(classes=classes)), **keys)


def test_names_a_file_of_names_and_the_types_own(tmp_path):
    assert classes_of(dataset(['cat', 'dog'])) == ('cat', 'dog')
    path = tmp_path / 'classes.txt'
    path.write_text('cat\npotted plant\n')
    assert classes_of(dataset(str(path))) == ('cat', 'potted plant')
    assert len(classes_of(dataset(metainfo=dict(palette=[])))) == 80


@pytest.mark.parametrize('cfg, message', [
    (dataset('ship'), r"metainfo\.classes is the text 'ship', and there is "
     r"no file .* classes=\('ship', \)"),
    (dataset('.'), "is the text '.'"),
    (dataset(()), r'metainfo\.classes is \(\): give a tuple of names'),
    (dataset(None), r'metainfo\.classes is None'),
    (dataset(('cat', 3)), 'give a tuple of names'),
    (dataset(('cat', ' ')), 'give a tuple of names'),
    (dataset(dict(cat=1)), 'give a tuple of names'),
    (dataset(('cat', 'dog', 'cat')), r"has \['cat'\] more than once"),
    (dataset(metainfo=dict(CLASSES=('cat', ))),
     r"metainfo\.CLASSES is a key of mmdet 2.*classes=\('cat',\)"),
    (dataset(classes=('cat', )), None),
    (dict(type='mmdet.CocoDataset', classes=['cat']),
     r'train_dataloader\.dataset\.classes is a key of mmdet 2'),
    (dict(type='mmdet.VOCDataset'), 'use CocoDataset'),
    (dict(type='mmdet.Nothing'), 'use CocoDataset'),
    (dict(type='mmdet.utils.register_all_modules'), 'use CocoDataset'),
])
def test_what_mmdet_would_not_read_so(cfg, message):
    if message is None:
        assert classes_of(cfg) == ('cat', )
        return
    with pytest.raises(ValueError, match=message):
        classes_of(cfg)
