# VOC2007 and VOC2012: both trainval sets (16,551 photos) to train on,
# VOC2007's test to evaluate as in voc07_ssd300.py. The COCO files are made by
#   python tools/dataset/voc2coco.py data/VOCdevkit/VOC2007 \
#       data/VOCdevkit/VOC2012 --split trainval --merge voc0712_trainval
#   python tools/dataset/voc2coco.py data/VOCdevkit/VOC2007 --split test
_base_ = './voc07_ssd300.py'
train_dataloader = dict(
    dataset=dict(
        ann_file='annotations/voc0712_trainval.json',
        data_prefix=dict(img='')))
