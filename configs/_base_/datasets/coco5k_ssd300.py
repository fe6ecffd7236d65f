# 5,000 random photos of coco_ssd300.py's 82,783 to train on. They are drawn by
#   python tools/dataset/draw_subset.py \
#       data/coco/annotations/instances_train2014.json \
#       data/coco/annotations/train2014_5k.json --size 5000
# and are those that the active learning runs on COCO start from.
_base_ = './coco_ssd300.py'
train_dataloader = dict(
    dataset=dict(ann_file='annotations/train2014_5k.json'))
