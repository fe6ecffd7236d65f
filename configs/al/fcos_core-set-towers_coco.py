# Core-set on the ends of both towers, averaged and joined (appendix D.2).
_base_ = './fcos_random_coco.py'
active_learning = dict(
    selector=dict(type='mmal.CoreSet'),
    embedder=dict(
        type='mmal.LayerEmbedder',
        layers=('bbox_head.cls_convs.3', 'bbox_head.reg_convs.3')))
