# ISAL over the last layers of Faster R-CNN, with the paper's solver.
al_method = dict(
    scorer=dict(
        type='mmal.InfluenceScorer',
        layers=('rpn_head.rpn_cls', 'rpn_head.rpn_reg',
                'roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg'),
        reference='val',
        hessian_images=500,
        hessian_positions=None,  # all of them, as in the paper
        # the paper's solver, but on Gauss-Newton with the kinks of box losses
        # (docs/influence.md) instead of the indefinite Hessian
        solver=dict(type='mmal.LiSSA', repeats=4, max_passes=1)),
    selector=dict(type='mmal.TopN'))
