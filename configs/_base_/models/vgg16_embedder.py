# Averages of VGG16's last map, from ImageNet, in place of the detector's own
# embeddings.
embedder = dict(
    type='mmal.EmbeddingModel',
    backbone=dict(
        type='mmdet.SSDVGG',
        depth=16,
        out_feature_indices=(29, ),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://vgg16')))
