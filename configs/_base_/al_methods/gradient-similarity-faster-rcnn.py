# isal-faster-rcnn.py without the Hessian (Gradient Similarity, section 4.4.2).
al_method = dict(
    scorer=dict(
        type='mmal.InfluenceScorer',
        layers=('rpn_head.rpn_cls', 'rpn_head.rpn_reg',
                'roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg'),
        reference='val',
        hessian_images=500,
        solver=dict(type='mmal.Identity')),
    selector=dict(type='mmal.TopN'))
