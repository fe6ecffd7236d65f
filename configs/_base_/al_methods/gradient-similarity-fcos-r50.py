# isal-fcos-r50.py without the Hessian (Gradient Similarity, section 4.4.2).
al_method = dict(
    scorer=dict(
        type='mmal.InfluenceScorer',
        layers=('bbox_head.conv_cls', 'bbox_head.conv_reg',
                'bbox_head.conv_centerness'),
        reference='val',
        hessian_images=5000,
        solver=dict(type='mmal.Identity')),
    selector=dict(type='mmal.TopN'))
