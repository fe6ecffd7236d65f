"""What a person does in FiftyOne, for the python that it is installed in.

    python fiftyone_session.py JOB.json

A job has the code that opens the request (``load``) and that exports it
(``export``), the field of the boxes (``field``), and where to write what was
seen (``out``): the boxes of each photo as they came, and as they were left, in
pixels.
"""
import json
import sys

import fiftyone as fo


def boxes_of(dataset, field):
    """label, x, y, width, height, confidence and bbox_std of each box."""
    dataset.reload()
    return {
        sample.filepath: [
            [box.label, *(share * side for share, side in zip(
                box.bounding_box, 2 * (sample.metadata.width,
                                       sample.metadata.height))),
             box.confidence,
             box['bbox_std'] if box.has_field('bbox_std') else None]
            for box in (sample[field].detections if sample[field] else ())]
        for sample in dataset.iter_samples()}


def edit(dataset, field):
    """The first photo is accepted, one box of the second is moved, of the
    third one is removed and one drawn, the fourth is emptied, and the fifth
    is drawn anew. Those that would look as if nobody had opened them get the
    tag by which mmal knows better.
    """
    samples = sorted(dataset, key=lambda s: (-len(s[field].detections),
                                             s.filepath))
    first, second, third, fourth, fifth = samples
    moved = second[field].detections[0]
    moved.bounding_box = [.015, *moved.bounding_box[1:2], 1 / 3,
                          *moved.bounding_box[3:]]
    moved.label = dataset.default_classes[-1]
    del third[field].detections[0]
    for sample in (third, fifth):
        sample[field].detections.append(fo.Detection(
            label=dataset.default_classes[1], bounding_box=[.1, .205, .3,
                                                            .4025]))
    fourth[field] = fo.Detections()
    for sample in (first, fourth):
        sample.tags.append('labelled')
    for sample in samples:
        sample.save()


def main():
    with open(sys.argv[1]) as f:
        job = json.load(f)
    scope = {'fo': fo}
    exec(job['load'], scope)
    dataset, field = scope['dataset'], job['field']
    dataset.compute_metadata(num_workers=1)
    seen = dict(classes=dataset.default_classes,
                shown=boxes_of(dataset, field))
    if job['edits']:
        edit(dataset, field)
    seen['left'] = boxes_of(dataset, field)
    exec(job['export'], scope)
    with open(job['out'], 'w') as f:
        json.dump(seen, f)


if __name__ == '__main__':
    main()
