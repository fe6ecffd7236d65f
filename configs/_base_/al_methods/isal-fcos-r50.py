# ISAL over the last layers of FCOS, with s_test solved exactly.
al_method = dict(
    # The paper's solver, on Gauss-Newton with the kinks of box losses instead
    # of the indefinite Hessian (docs/influence.md), would be
    # solver=dict(type='mmal.LiSSA', repeats=4, max_passes=1) with
    # hessian_positions=None.
    scorer=dict(
        type='mmal.InfluenceScorer',
        layers=('bbox_head.conv_cls', 'bbox_head.conv_reg',
                'bbox_head.conv_centerness'),
        reference='val',
        hessian_images=5000),
    selector=dict(type='mmal.TopN'))
