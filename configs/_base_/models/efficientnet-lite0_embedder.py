# Averages of EfficientNet-Lite0's last map, from ImageNet, in place of the
# detector's own embeddings.
embedder = dict(
    type='mmal.EmbeddingModel',
    backbone=dict(
        type='mmal.EfficientNetLite',
        out_indices=(5, ),
        init_cfg=dict(
            type='Pretrained', checkpoint='efficientnet-lite0://imagenet')),
    data_preprocessor=dict(
        mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0],
        bgr_to_rgb=True))
