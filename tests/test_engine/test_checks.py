"""Mistakes found before any training."""
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.tiny import tiny_active_learning, tiny_coco, tiny_config
from PIL import Image

from mmal.engine.checks import check_model, check_val
from mmal.engine.inputs import read_inputs
from mmal.engine.plan import plan_run


@pytest.mark.parametrize('size, fine', [(1, False), (2, True)])
def test_a_learned_loss_needs_pairs_of_images(tmp_path, mmdet_scope, size,
                                              fine):
    cfg = tiny_config(str(tmp_path))
    cfg.model.type = 'mmal.LearningLossDetector'
    cfg.train_dataloader.batch_size = size
    dataset = cfg.train_dataloader.dataset
    if fine:
        assert check_model(cfg, dataset).loss_head is not None
        return
    with pytest.raises(ValueError, match='train_dataloader.batch_size is 1'):
        check_model(cfg, dataset)


def test_initial_weights_without_a_name_are_one_error(tmp_path, mmdet_scope):
    cfg = tiny_config(str(tmp_path))
    cfg.model.bbox_head.init_cfg = dict(type='Pretrained')
    with pytest.raises(ValueError, match="initialised.*'checkpoint'"):
        check_model(cfg, cfg.train_dataloader.dataset)


@pytest.mark.parametrize('suffix, message', [
    ('#sha256=12', 'weights.pth#sha256=12: .*64 hexadecimal'),
    ('.gone#sha256=' + '0' * 64, 'load_from: there is no .*gone.$'),
    ('#sha256=' + '0' * 64, f'SHA-256 is .*, and not {"0" * 64}')])
def test_load_from_with_digits(tmp_path, mmdet_scope, suffix, message):
    cfg = tiny_config(str(tmp_path))
    cfg.active_learning = tiny_active_learning()
    torch.save({}, tmp_path / 'weights.pth')
    cfg.load_from = f'{tmp_path}/weights.pth{suffix}'
    cfg.work_dir = str(tmp_path / 'work')
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        plan_run(cfg)


def test_the_method_that_nobody_named_stands_in_the_config(tmp_path):
    cfg = tiny_config(str(tmp_path))
    cfg.active_learning = tiny_active_learning()
    del cfg.active_learning['scorer']
    cfg.work_dir = str(tmp_path / 'work')
    block = read_inputs(cfg).cfg.active_learning
    assert block.scorer == dict(type='mmal.RandomScorer')
    assert block.selector == dict(type='mmal.CoreSet')
    assert 'selector' not in cfg.active_learning
    # who names one of them gets what he named
    cfg.active_learning.scorer = dict(type='mmal.EntropyScorer')
    assert 'selector' not in read_inputs(cfg).cfg.active_learning


@pytest.fixture
def val(tmp_path):
    """A config, and a function that changes the first validation image and
    its entry."""
    root = str(tmp_path / 'data')
    cfg = tiny_config(root)

    def change(of_file=None, of_entry=None):
        with open(f'{root}/val.json') as f:
            content = json.load(f)
        entry = content['images'][0]
        if of_file:
            of_file(f'{root}/images/{entry["file_name"]}')
        if of_entry:
            of_entry(entry)
        with open(f'{root}/val.json', 'w') as f:
            json.dump(content, f)

    return cfg, change


def cut(path):
    content = open(path, 'rb').read()
    open(path, 'wb').write(content[:len(content) // 2])


def write_html(path):
    open(path, 'w').write('<html>404 not found</html>')


def make_folder(path):
    os.unlink(path)
    os.mkdir(path)


def rotate(path):
    """The entry of the json is that of the stored pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (96, 64)).save(path, 'JPEG', exif=exif)


def write_floats(path):
    Image.new('F', (96, 64)).save(path, 'TIFF')


SIZE = dict(width=96, height=64)


@pytest.mark.parametrize('of_file, of_entry, message', [
    (cut, None, 'truncated'),
    (write_html, None, 'it is not an image'),
    (os.unlink, None, 'no such file'),
    (make_folder, None, 'it is a folder'),
    (rotate, lambda e: e.update(SIZE), 'it is 64x96, .* EXIF'),
    (None, lambda e: e.update(width=e['height'] + 3, height=e['width']),
     'the json says'),
    (write_floats, lambda e: e.update(SIZE), 'cv2 cannot load this TIFF'),
])
def test_a_broken_validation_image_is_named(val, of_file, of_entry, message):
    cfg, change = val
    change(of_file, of_entry)
    with pytest.raises(FileNotFoundError,
                       match=f'1 image.* of val_dataloader .*{message}'):
        check_val(cfg)


def test_validation_images_that_are_addresses(val):
    cfg, change = val
    change(of_entry=lambda e: e.update(file_name='s3://bucket/a.png'))
    with pytest.raises(ValueError, match='val.json: the file_name of 1 of 6 '
                       "images is an address, e.g. 's3://bucket/a.png'"):
        check_val(cfg)


def test_validation_is_judged_by_its_own_loader(val):
    cfg, change = val
    change(rotate, lambda e: e.update(SIZE))
    step = cfg.val_dataloader.dataset.pipeline[0]
    step.color_type = 'color_ignore_orientation'
    coco, notes = check_val(cfg)
    # a black photo among others is no reason for a note
    assert len(coco.images) == 6 and notes == []


def test_of_many_validation_images_all_are_read(tmp_path):
    """Also those that are too many to be loaded."""
    root = tiny_coco(str(tmp_path / 'data'), val=3)
    with open(f'{root}/val.json') as f:
        content = json.load(f)
    first = content['images'][0]
    content['images'] = [
        dict(first, id=i, file_name=f'{i}.png') for i in range(450)]
    content['annotations'] = [dict(content['annotations'][0], image_id=7)]
    for i in range(450):
        os.link(f'{root}/images/{first["file_name"]}',
                f'{root}/images/{i}.png')
    with open(f'{root}/val.json', 'w') as f:
        json.dump(content, f)
    cfg = tiny_config(root)
    assert len(check_val(cfg)[0].images) == 450
    for victim in (1, 449):
        path = f'{root}/images/{victim}.png'
        whole = open(path, 'rb').read()
        os.unlink(path)
        open(path, 'wb').write(whole[:-40])
    with pytest.raises(FileNotFoundError, match='^2 image.*truncated'):
        check_val(cfg)


@pytest.mark.parametrize('color_type, noted', [
    ('color', True), ('unchanged', False)])
def test_twelve_bits_in_sixteen_are_noted(tmp_path, mmdet_scope, color_type,
                                          noted):
    cfg = tiny_config(str(tmp_path / 'data'))
    for path in Path(tmp_path, 'data', 'images').iterdir():
        values = cv2.imread(str(path)).astype(np.uint16)
        cv2.imwrite(str(path), values * 16)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.active_learning = tiny_active_learning()
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.pipeline[0].color_type = color_type
    cfg.test_dataloader = cfg.val_dataloader
    dark = [n for n in read_inputs(cfg).notes if 'nearly black' in n]
    assert len(dark) == (2 if noted else 0)
    for note, name in zip(dark, ('val.json', 'pool.json')):
        assert name in note and 'the files hold uint16' in note
