# The largest variance of a box chooses; boxes are single Gaussians
# ("Box-uncertainty"). The paper has it on VOC2007 only.
_base_ = './ssd300_random_voc0712.py'
model = dict(
    bbox_head=dict(
        type='mmal.MDNSSDHead', box_components=1, cls_components=0))
active_learning = dict(
    scorer=dict(
        type='mmal.MixtureUncertaintyScorer',
        uncertainties=('box_aleatoric', )))
