# ISAL over the last layers of FCOS, with the paper's solver.
al_method = dict(
    scorer=dict(
        type='mmal.InfluenceScorer',
        layers=('bbox_head.conv_cls', 'bbox_head.conv_reg',
                'bbox_head.conv_centerness'),
        reference='val',
        hessian_images=5000,
        hessian_positions=None,  # all of them, as in the paper
        # the paper's solver, but on Gauss-Newton with the kinks of box losses
        # (docs/influence.md) instead of the indefinite Hessian
        solver=dict(type='mmal.LiSSA', repeats=4, max_passes=1)),
    selector=dict(type='mmal.TopN'))
