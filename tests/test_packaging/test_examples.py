"""The sessions of examples/, as a user types them."""
import os
import subprocess
import sys

import pytest

from mmal.fileio import read_json

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


@pytest.mark.run
def test_people_label_30_photos(tmp_path):
    """Asked twice, labelled in Label Studio's form, trained on twice."""
    env = dict(os.environ, PYTHON=sys.executable, PYTHONPATH=ROOT)
    done = subprocess.run(
        ['bash', f'{ROOT}/examples/label_by_hand.sh', str(tmp_path),
         '--cfg-options', 'train_cfg.max_epochs=2'],
        capture_output=True, text=True, env=env, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert 'waits for nobody' in done.stdout
    run = tmp_path / 'run'
    rounds = read_json(str(run / 'state.json'))['rounds']
    assert [len(r['ids']) for r in rounds] == [10, 10]
    assert (run / 'report.html').exists()

    # what the second round trains on is what people know, box by box
    known, labelled = (
        read_json(str(path)) for path in (
            tmp_path / 'known' / 'pool.json',
            run / 'round_01' / 'labelled.json'))

    def boxes(coco):
        names = {i['id']: os.path.basename(i['file_name'])
                 for i in coco['images']}
        classes = {c['id']: c['name'] for c in coco['categories']}
        return {(names[a['image_id']], classes[a['category_id']],
                 *(round(v, 3) for v in a['bbox']))
                for a in coco['annotations']}, set(names.values())

    (known, _), (labelled, photos) = boxes(known), boxes(labelled)
    assert len(photos) == 20
    assert labelled == {row for row in known if row[0] in photos}

    predictions = read_json(str(run / 'round_00' / 'predictions.json'))
    assert {p['image_id'] for p in predictions} <= set(rounds[1]['ids'])
