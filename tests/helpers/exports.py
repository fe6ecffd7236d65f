"""Exports in the shape that labelling tools write them, of known boxes."""
import csv
import hashlib
import io
import json
import os
import zipfile
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

CLASSES = ('car', 'person', 'traffic light')
#: our name -> size, boxes; names with blanks, folders, accents, dots
PHOTOS = {
    'a.jpg': ((640, 480), [('car', (10, 20, 100, 50)),
                           ('person', (300, 200, 31, 77))]),
    'night 1/b.c.jpg': ((320, 200), [('traffic light', (0, 0, 7, 21))]),
    'day/straße.png': ((1000, 501), [('person', (899, 400, 101, 101)),
                                     ('car', (3, 5, 11, 13)),
                                     ('car', (3, 5, 11, 13))]),
}


def digest(name):
    """32 hexadecimal digits that belong to a name."""
    return hashlib.md5(name.encode()).hexdigest()


def uploaded(name):
    """What Label Studio makes of the name of an upload."""
    return f'{digest(name)[:8]}-' + name.split('/')[-1].replace(' ', '_')


def write(path, content):
    """Write text, or an object as json; returns the path."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not isinstance(content, str):
        content = json.dumps(content)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(content)
    return path


def zipped(path, files):
    """A zip of names and texts; returns the path."""
    with zipfile.ZipFile(path, 'w') as f:
        for name, content in files.items():
            f.writestr(name, content)
    return path


def label_studio_region(label, bbox, size, **value):
    """A rectangle of Label Studio's JSON."""
    (w, h), (x, y, width, height) = size, bbox
    return dict(
        original_width=w, original_height=h, image_rotation=0,
        value=dict(x=100 * x / w, y=100 * y / h, width=100 * width / w,
                   height=100 * height / h, rotation=0,
                   rectanglelabels=[label], **value),
        id='bEqHL9u1Mv', from_name='label', to_name='image',
        type='rectanglelabels', origin='manual')


def label_studio_task(name, regions, number=1, address=None, **changes):
    """A task of Label Studio's JSON, handed in once."""
    annotation = dict(
        id=number, completed_by=1, result=regions, was_cancelled=False,
        ground_truth=False, created_at='2026-11-29T20:04:31.352428Z',
        updated_at='2026-11-29T20:04:31.352446Z',
        draft_created_at='2026-11-29T20:04:20.043253Z', lead_time=20.1,
        prediction={}, result_count=len(regions), unique_id=digest(name),
        import_id=None, last_action=None, bulk_created=False, task=number,
        project=1, updated_by=1, parent_prediction=None,
        parent_annotation=None, last_created_by=None)
    return dict(dict(
        id=number, annotations=[annotation], file_upload=uploaded(name),
        drafts=[], predictions=[],
        data=dict(image=address or '/data/upload/1/' + quote(uploaded(name))),
        meta={}, created_at='2026-11-29T20:03:20.352428Z',
        updated_at='2026-11-29T20:04:31.379846Z', allow_skip=True,
        inner_id=number, total_annotations=1, cancelled_annotations=0,
        total_predictions=0, comment_count=0, unresolved_comment_count=0,
        last_comment_updated_at=None, project=1, updated_by=1,
        comment_authors=[]), **changes)


def label_studio(folder, photos=PHOTOS, address=None):
    """Label Studio: JSON."""
    return write(f'{folder}/project-1-at-2026.json', [
        label_studio_task(
            name, [label_studio_region(*box, size) for box in boxes], n,
            address and address(name))
        for n, (name, (size, boxes)) in enumerate(photos.items(), 1)])


def label_studio_local(folder, photos=PHOTOS):
    """Label Studio: JSON of photos on its own disk."""
    tasks = json.load(open(label_studio(
        folder, photos, lambda n: '/data/local-files/?d=' +
        quote(f'photos/{n}')), encoding='utf-8'))
    for task in tasks:
        task['file_upload'] = None
    return write(f'{folder}/local.json', tasks)


def label_studio_min(folder, photos=PHOTOS):
    """Label Studio: JSON-MIN."""
    rows = []
    for n, (name, (size, boxes)) in enumerate(photos.items(), 1):
        row = dict(image='/data/upload/1/' + quote(uploaded(name)), id=n,
                   annotator=1, annotation_id=n, lead_time=7.7,
                   created_at='2026-11-29T20:04:31.352428Z',
                   updated_at='2026-11-29T20:04:31.352446Z')
        if boxes:
            row['label'] = []
        for box in boxes:
            region = label_studio_region(*box, size)
            row['label'].append(dict(region['value'], original_width=size[0],
                                     original_height=size[1]))
        rows.append(row)
    return write(f'{folder}/min.json', rows)


def coco(photos=PHOTOS, names=lambda n: n, first=1, **fields):
    """A plain COCO dict."""
    images, annotations = [], []
    for i, (name, (size, boxes)) in enumerate(photos.items(), first):
        images.append(dict(id=i, width=size[0], height=size[1],
                           file_name=names(name)))
        for label, (x, y, w, h) in boxes:
            annotations.append(dict(
                id=len(annotations) + first, image_id=i,
                category_id=CLASSES.index(label) + first, segmentation=[],
                bbox=[float(x), float(y), float(w), float(h)],
                area=float(w * h), iscrowd=0, **fields))
    return dict(images=images, annotations=annotations, categories=[
        dict(id=n, name=name) for n, name in enumerate(CLASSES, first)])


def label_studio_coco(folder, photos=PHOTOS):
    """Label Studio: COCO, a zip; every id counts from 0."""
    content = dict(
        coco(photos, lambda n: 'images/' + uploaded(n), 0, ignore=0),
        info=dict(year=2026, version='1.0', description='',
                  contributor='Label Studio', url=''))
    return zipped(f'{folder}/project-1-coco.zip', {
        'result.json': json.dumps(content), 'images/a.jpg': b'photo'})


def cvat(folder, photos=PHOTOS):
    """CVAT: "CVAT for images 1.1", a zip."""
    labels = ''.join(
        f'<label><name>{escape(c)}</name><color>#b83df5</color>'
        '<type>any</type><attributes></attributes></label>' for c in CLASSES)
    images = []
    for n, (name, (size, boxes)) in enumerate(photos.items()):
        shapes = ''.join(
            f'<box label={quoteattr(label)} source="manual" occluded="0" '
            f'xtl="{x:.2f}" ytl="{y:.2f}" xbr="{x + w:.2f}" '
            f'ybr="{y + h:.2f}" z_order="0">\n</box>\n'
            for label, (x, y, w, h) in boxes)
        images.append(f'<image id="{n}" name={quoteattr(name)} '
                      f'width="{size[0]}" height="{size[1]}">\n{shapes}'
                      '</image>\n')
    xml = ('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n'
           '<version>1.1</version>\n<meta><job><id>7</id><size>3</size>'
           '<mode>annotation</mode><overlap>0</overlap><subset>Train</subset>'
           f'<labels>{labels}</labels></job><dumped>2026-11-29</dumped>'
           f'</meta>\n{"".join(images)}</annotations>\n')
    return zipped(f'{folder}/job_7.zip', {'annotations.xml': xml})


def cvat_coco(folder, photos=PHOTOS):
    """CVAT: "COCO 1.0", a zip."""
    content = coco(photos, attributes=dict(occluded=False, rotation=0.0))
    for image in content['images']:
        image.update(license=0, flickr_url='', coco_url='', date_captured=0)
    for category in content['categories']:
        category['supercategory'] = ''
    content['licenses'] = [dict(name='', id=0, url='')]
    return zipped(f'{folder}/task_3.zip', {
        'annotations/instances_Train.json': json.dumps(content)})


def fiftyone(folder, photos=PHOTOS):
    """FiftyOne: FiftyOneImageDetectionDataset."""
    return os.path.dirname(write(f'{folder}/fo/labels.json', dict(
        classes=list(CLASSES), labels={
            os.path.splitext(name)[0]: [
                dict(label=label, bounding_box=[
                    x / size[0], y / size[1], w / size[0], h / size[1]])
                for label, (x, y, w, h) in boxes] if boxes else []
            for name, (size, boxes) in photos.items()})))


def fiftyone_samples(folder, photos=PHOTOS):
    """FiftyOne: FiftyOneDataset."""
    samples = []
    for name, (size, boxes) in photos.items():
        detections = [
            dict(_id={'$oid': digest(name)[:24]}, _cls='Detection',
                 attributes={}, tags=[], label=label, bounding_box=[
                     x / size[0], y / size[1], w / size[0], h / size[1]],
                 mask=None, confidence=None, index=None)
            for label, (x, y, w, h) in boxes]
        samples.append(dict(
            _id={'$oid': digest(name)[:24]}, filepath=f'data/{name}', tags=[],
            _media_type='image', metadata=dict(
                _cls='ImageMetadata', width=size[0], height=size[1]),
            ground_truth=dict(_cls='Detections', detections=detections),
            predictions=dict(_cls='Detections', detections=[])))
    os.makedirs(f'{folder}/fods', exist_ok=True)
    write(f'{folder}/fods/metadata.json', dict(name='x', media_type='image'))
    return os.path.dirname(write(f'{folder}/fods/samples.json',
                                 dict(samples=samples)))


def via(folder, photos=PHOTOS):
    """VIA 2: json of annotations."""
    return write(f'{folder}/via_region_data.json', {
        f'{os.path.basename(name)}12345': dict(
            filename=os.path.basename(name), size=12345, regions=[
                dict(shape_attributes=dict(
                    name='rect', x=x, y=y, width=w, height=h),
                    region_attributes=dict(object=label, occluded='no'))
                for label, (x, y, w, h) in boxes],
            file_attributes=dict(caption=''))
        for name, (size, boxes) in photos.items()})


def via_project(folder, photos=PHOTOS):
    """VIA 2: a project; check boxes as the class."""
    content = json.load(open(via(folder, photos), encoding='utf-8'))
    for entry in content.values():
        for region in entry['regions']:
            values = region['region_attributes']
            region['region_attributes'] = dict(kind={values['object']: True})
    return write(f'{folder}/via_project.json', dict(
        _via_settings=dict(project=dict(name='x')),
        _via_img_metadata=content, _via_attributes=dict(
            region=dict(kind=dict(
                type='checkbox', description='', default_options={},
                options=dict.fromkeys(CLASSES, ''))), file={}),
        _via_data_format_version='2.0.10',
        _via_image_id_list=list(content)))


def via_csv(folder, photos=PHOTOS):
    """VIA 2: csv."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(['filename', 'file_size', 'file_attributes', 'region_count',
                   'region_id', 'region_shape_attributes',
                   'region_attributes'])
    for name, (_, boxes) in photos.items():
        start = [os.path.basename(name), 12345, '{}', len(boxes)]
        if not boxes:
            rows.writerow([*start, 0, '{}', '{}'])
        for n, (label, (x, y, w, h)) in enumerate(boxes):
            rows.writerow([*start, n, json.dumps(dict(
                name='rect', x=x, y=y, width=w, height=h)),
                json.dumps(dict(object=label))])
    return write(f'{folder}/via_region_data.csv', text.getvalue())


def via_coco(folder, photos=PHOTOS):
    """VIA 2: COCO; ids as text, a category row for each region."""
    content = coco(photos, os.path.basename)
    for a in content['annotations']:
        a['image_id'] = str(a['image_id'])
        x, y, w, h = a['bbox']
        a['segmentation'] = [x, y, x + w, y, x + w, y + h, x, y + h]
    content['categories'] = [dict(c, supercategory='type')
                             for c in content['categories'] * 3]
    return write(f'{folder}/via_coco.json', content)


def roboflow(folder, photos=PHOTOS):
    """Roboflow: COCO, a zip with a file for each split; 640 at most."""
    files = {'README.roboflow.txt': 'x', 'README.dataset.txt': 'x'}
    for split, chosen in (('train', list(photos)[:-1]),
                          ('valid', list(photos)[-1:])):
        part = {n: photos[n] for n in chosen}

        def renamed(name):
            stem, ending = os.path.splitext(os.path.basename(name))
            stem = stem.replace('.', '-').encode('ascii', 'ignore').decode()
            return f'{stem}_{ending[1:]}.rf.{digest(name)}.jpg'

        content = coco(part, renamed)
        content['categories'].insert(0, dict(
            id=0, name='objects', supercategory='none'))
        for category in content['categories'][1:]:
            category['supercategory'] = 'objects'
        for image, name in zip(content['images'], chosen):
            image.update(license=1, date_captured='2026-11-29T20:03:20+00:00',
                         extra=dict(name=os.path.basename(name)))
        files[f'{split}/_annotations.coco.json'] = json.dumps(content)
    return zipped(f'{folder}/My Project.v1i.coco.zip', files)


def yolo_lines(size, boxes, digits):
    """The text of a label file."""
    lines = []
    for label, (x, y, w, h) in boxes:
        shares = ((x + w / 2) / size[0], (y + h / 2) / size[1], w / size[0],
                  h / size[1])
        lines.append(' '.join([str(CLASSES.index(label)),
                               *(f'{s:.{digits}f}' for s in shares)]))
    return '\n'.join(lines)


def yolo(folder, photos=PHOTOS):
    """YOLO of Label Studio: a zip without photos."""
    files = {'classes.txt': '\n'.join(CLASSES) + '\n',
             'notes.json': json.dumps(dict(categories=[
                 dict(id=n, name=c) for n, c in enumerate(CLASSES)],
                 info=dict(contributor='Label Studio')))}
    for name, (size, boxes) in photos.items():
        stem = os.path.splitext(uploaded(name))[0]
        files[f'labels/{stem}.txt'] = yolo_lines(size, boxes, 16)
    return zipped(f'{folder}/yolo.zip', files)


def yolo_cvat(folder, photos=PHOTOS):
    """YOLO of CVAT: "YOLO 1.1"."""
    files = {'obj.names': '\n'.join(CLASSES) + '\n',
             'obj.data': 'classes = 3\ntrain = data/train.txt\n'
             'names = data/obj.names\nbackup = backup/\n',
             'train.txt': '\n'.join(f'data/obj_train_data/{n}'
                                    for n in photos)}
    for name, (size, boxes) in photos.items():
        stem = os.path.splitext(name)[0]
        files[f'obj_train_data/{stem}.txt'] = yolo_lines(size, boxes, 6)
    return zipped(f'{folder}/yolo_cvat.zip', files)


def yolo_roboflow(folder, photos=PHOTOS):
    """YOLO of Roboflow and Ultralytics: a folder with ``data.yaml``."""
    write(f'{folder}/yolo_rf/README.dataset.txt', 'x')
    write(f'{folder}/yolo_rf/data.yaml', 'train: ../train/images\nnc: 3\n'
          f'names: {json.dumps(CLASSES)}\n')
    for name, (size, boxes) in photos.items():
        stem, ending = os.path.splitext(os.path.basename(name))
        write(f'{folder}/yolo_rf/train/labels/{stem}_{ending[1:]}.rf.'
              f'{digest(name)}.txt', yolo_lines(size, boxes, 16))
    return f'{folder}/yolo_rf'


def voc_text(name, size, boxes, corner):
    """An xml file of VOC; ``corner`` formats a coordinate."""
    objects = ''.join(
        f'<object><name>{escape(label)}</name><pose>Unspecified</pose>'
        '<truncated>0</truncated><difficult>0</difficult><bndbox>'
        f'<xmin>{corner(x)}</xmin><ymin>{corner(y)}</ymin>'
        f'<xmax>{corner(x + w)}</xmax><ymax>{corner(y + h)}</ymax></bndbox>'
        '</object>' for label, (x, y, w, h) in boxes)
    return (f'<annotation><folder>images</folder><filename>{escape(name)}'
            '</filename><source><database>MyDatabase</database></source>'
            f'<size><width>{size[0]}</width><height>{size[1]}</height>'
            f'<depth>3</depth></size><segmented>0</segmented>{objects}'
            '</annotation>')


def voc(folder, photos=PHOTOS):
    """Pascal VOC of Label Studio: whole numbers."""
    return zipped(f'{folder}/voc.zip', {
        f'Annotations/{os.path.splitext(uploaded(name))[0]}.xml': voc_text(
            uploaded(name), size, boxes, int)
        for name, (size, boxes) in photos.items()})


def voc_cvat(folder, photos=PHOTOS):
    """Pascal VOC of CVAT: decimals, lists and a map of labels."""
    files = {
        f'Annotations/{os.path.splitext(name)[0]}.xml': voc_text(
            name, size, boxes, float)
        for name, (size, boxes) in photos.items()}
    files['ImageSets/Main/default.txt'] = '\n'.join(photos)
    files['labelmap.txt'] = '# label:color_rgb:parts:actions\ncar:1,2,3::\n'
    return zipped(f'{folder}/voc_cvat.zip', files)


#: Each dialect, what it is read as, and how exact its boxes are in pixels.
DIALECTS = {
    label_studio: ('label-studio', 1e-6),
    label_studio_local: ('label-studio', 1e-6),
    label_studio_min: ('label-studio', 1e-6),
    label_studio_coco: ('coco', 1e-6),
    cvat: ('cvat', 1e-6),
    cvat_coco: ('coco', 1e-6),
    fiftyone: ('fiftyone', 1e-6),
    fiftyone_samples: ('fiftyone', 1e-6),
    via: ('via', 1e-6),
    via_project: ('via', 1e-6),
    via_csv: ('via', 1e-6),
    via_coco: ('coco', 1e-6),
    roboflow: ('coco', 1e-6),
    yolo: ('yolo', 1e-6),
    yolo_cvat: ('yolo', 1e-3),  # six digits of a share of 1,000 pixels
    yolo_roboflow: ('yolo', 1e-6),
    voc: ('voc', 1e-6),
    voc_cvat: ('voc', 1e-6),
}
