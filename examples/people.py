"""Plays the people at Label Studio: draws the boxes that are known.

python examples/people.py TASKS KNOWN EXPORT

TASKS is what `mmal labels export --to label-studio` has written, KNOWN a COCO
json with the boxes of these photos, EXPORT what Label Studio would export as
JSON. Where the detector has predicted a box well, its region is corrected and
keeps its id; other predictions are deleted, and what is missing is drawn.
"""
import json
import sys
import uuid


def overlap(a, b):
    """The intersection of two boxes [x, y, width, height] over their
    union."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def region(label, box, size, id):
    """A rectangle as Label Studio keeps it, in percents of the photo."""
    (x, y, w, h), (width, height) = box, size
    return dict(
        id=id, type='rectanglelabels', from_name='label', to_name='image',
        original_width=width, original_height=height, image_rotation=0,
        value=dict(x=100 * x / width, y=100 * y / height,
                   width=100 * w / width, height=100 * h / height,
                   rotation=0, rectanglelabels=[label]))


def main(tasks_path, known_path, export_path):
    """Label all tasks."""
    with open(tasks_path) as f:
        tasks = json.load(f)
    with open(known_path) as f:
        known = json.load(f)
    images = {i['file_name']: i for i in known['images']}
    names = {c['id']: c['name'] for c in known['categories']}
    kept = drawn = 0
    for number, task in enumerate(tasks, 1):
        image = images[task['data']['file_name'].split('/')[-1]]
        size = image['width'], image['height']
        predicted = {}
        for r in task['predictions'][0]['result']:
            v = r['value']
            predicted[r['id']] = [
                v[k] / 100 * s for k, s in zip(
                    ('x', 'y', 'width', 'height'), size * 2)]
        result = []
        for a in known['annotations']:
            if a['image_id'] != image['id']:
                continue
            best = max(predicted, default=None,
                       key=lambda i: overlap(predicted[i], a['bbox']))
            if best is None or overlap(predicted[best], a['bbox']) < .5:
                best, drawn = uuid.uuid4().hex[:10], drawn + 1
            else:
                del predicted[best]
                kept += 1
            result.append(region(names[a['category_id']], a['bbox'], size,
                                 best))
        task.update(id=number, annotations=[dict(
            id=number, result=result, was_cancelled=False,
            ground_truth=False)])
    with open(export_path, 'w') as f:
        json.dump(tasks, f)
    print(f'people have labelled {len(tasks)} photos: {kept} predicted boxes '
          f'corrected, {drawn} boxes drawn')


if __name__ == '__main__':
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
