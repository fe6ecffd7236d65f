# Core-set on the ends of FCOS's towers of four convolutions, averaged and
# joined (appendix D.2 of ISAL).
al_method = dict(
    scorer=dict(type='mmal.RandomScorer'),
    selector=dict(type='mmal.CoreSet'),
    embedder=dict(
        type='mmal.LayerEmbedder',
        layers=('bbox_head.cls_convs.3', 'bbox_head.reg_convs.3')))
