"""Work folders as runs leave them, without any training."""
import os
import os.path as osp

import cv2
import numpy as np

from mmal.fileio import write_json, write_text
from mmal.pool import Pool
from mmal.reporting import Curve, Record
from mmal.scores import Scores

CONFIG = '''
model = dict(type='FCOS', backbone=dict(type='ResNet'))
train_cfg = dict(max_epochs=12)
active_learning = dict(
    rounds=3,
    budget=dict(size=6, unit='images', _scope_='mmdet'),
    selector=dict(type='mmal.TopN'),
    scorer=dict(type='mmal.InfluenceScorer', _scope_='mmdet'))
'''
CLASSES = ('cat & dog', 'hen <b>', 'owl')


def make_work_folder(root, images=24, first=6, per_round=6, rounds=3,
                     classes=CLASSES, size=(96, 64), waiting=False,
                     embeddings=True, real_photos=True, noise=6, seed=0):
    """Write the files of a run and its images.

    Args:
        root (str): Gets ``images/`` and ``work/``.
        images (int): Images of the pool.
        first (int): Those of the first labelled set.
        per_round (int): Images of each query.
        rounds (int): Rounds; the last one has no query unless it waits.
        classes (sequence[str]): Names of the classes.
        size (tuple[int, int]): Width and height of the images.
        waiting (bool): The last round has chosen images that nobody has
            labelled.
        embeddings (bool): Write those of the last query.
        real_photos (bool): Write a file of each image.
        noise (float): Standard deviation of their grains, of 255.
        seed (int): Same seed, same files.

    Returns:
        str: The work folder.
    """
    rng = np.random.default_rng(seed)
    work = osp.join(root, 'work')
    width, height = size
    infos = {i: dict(id=i, file_name=f'photo_{i:04d}.jpg', width=width,
                     height=height) for i in range(100, 100 + images)}
    if real_photos:
        os.makedirs(osp.join(root, 'images'))
        for info in infos.values():
            name = osp.join(root, 'images', info['file_name'])
            with open(name, 'wb') as f:
                f.write(photo(width, height, noise, rng))
    categories = [dict(id=3 * c + 1, name=name)
                  for c, name in enumerate(classes)]
    truth = {i: [dict(
        id=1000 * i + n, image_id=i, iscrowd=0, area=200,
        category_id=categories[int(rng.integers(len(classes)))]['id'],
        bbox=[int(rng.integers(width // 2)), int(rng.integers(height // 2)),
              width // 3, height // 3])
        for n in range(int(rng.integers(0, 4)))] for i in infos}

    pool, curve = Pool(infos), Curve(img_prefix=osp.join(root, 'images'))
    order = rng.permutation(list(infos)).tolist()
    pool.commit(order[:first], seed=0)
    for number in range(rounds):
        folder = osp.join(work, f'round_{number:02d}')
        ids = pool.labelled()
        write_json(f'{folder}/labelled.json', dict(
            images=[infos[i] for i in ids], categories=categories,
            annotations=[a for i in ids for a in truth[i]]))
        metrics = {'coco/bbox_mAP': 0.5 - 0.4 / (number + 1),
                   'coco/bbox_mAP_50': 0.8 - 0.5 / (number + 1),
                   **{f'coco/{name}_precision': 0.1 * number
                      for name in classes}}
        record = Record(number, len(ids), sum(len(truth[i]) for i in ids),
                        metrics, 60.0 + number)
        curve.add(record)
        if number + 1 == rounds and not waiting:
            curve.stopped = 'rounds'
            break
        left = pool.unlabelled()
        values = rng.normal(size=len(left))
        values[:1] = -np.inf
        scores = Scores(
            left, values, columns=dict(pseudo_labels=rng.integers(
                0, 9, len(left)), class_scores=rng.random(
                    (len(left), len(classes)))),
            embeddings=rng.normal(size=(len(left), 5)).astype(np.float32)
            if embeddings else None)
        scores.save(f'{folder}/scores.npz')
        chosen = [left[i] for i in np.argsort(-values)[:per_round]]
        reselected = ids[:1] if number == 1 else []
        write_json(f'{folder}/selected.json', dict(
            ids=chosen + reselected,
            scores=[s if np.isfinite(s) else None for s in scores.of(chosen)]
            + [0.5] * len(reselected),
            boxes=None if waiting and number + 1 == rounds else sum(
                len(truth[i]) for i in chosen),
            note='', by_score=1.0, reselected=reselected,
            file_names=[infos[i]['file_name'] for i in chosen + reselected]))
        if number == 1:  # a version without these counts made round 0
            write_json(f'{folder}/class_boxes.json', dict(
                images=len(left), boxes={name: 2.5 * (n + 1)
                                         for n, name in enumerate(classes)}))
        write_json(f'{folder}/predictions.json', [
            dict(image_id=i, category_id=a['category_id'], score=0.9,
                 bbox=[a['bbox'][0] + 1, *a['bbox'][1:]],
                 bbox_std=[1.5, 2, 1, 0.5])
            for i in chosen for a in truth[i][:2]] + [
            dict(image_id=i, category_id=categories[0]['id'], score=0.4,
                 bbox=[2.25, 3.5, 20, 20]) for i in chosen])
        record.query_seconds, record.by_score = 5.0, 1.0
        pool.commit(chosen, seed=0, reselected=reselected)
    if waiting:
        write_json(f'{work}/labels/to_label.json', dict(
            images=[infos[i] for i in chosen], annotations=[],
            categories=categories))
    pool.save(f'{work}/state.json', config_hash='', seed=seed,
              stopped=curve.stopped)
    curve.save(work)
    write_text(osp.join(work, 'config.py'), CONFIG)
    return work


def photo(width, height, noise, rng):
    """A JPEG of soft colours and grains."""
    picture = rng.integers(60, 200, (height // 32 + 1, width // 32 + 1, 3))
    picture = cv2.resize(picture.astype(np.uint8), (width, height),
                         interpolation=cv2.INTER_CUBIC)
    grains = rng.normal(0, noise, picture.shape)
    picture = np.clip(picture + grains, 0, 255).astype(np.uint8)
    return cv2.imencode('.jpg', picture)[1].tobytes()
