# RetinaNet on COCO with evidential classes, at the schedule of its base. As in
# the published code the softmax has no background.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmal'], allow_failed_imports=False)
model = dict(
    bbox_head=dict(type='mmal.EvidentialRetinaHead', background=False))

# 2 images on each of 8 GPUs; scaled for another number.
auto_scale_lr = dict(enable=True, base_batch_size=16)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
