# FCOS on COCO, a tenth of the 118,287 training images a round (section 4.3 and
# table 10 of ISAL). The last round trains on all of them.
_base_ = './fcos_coco.py'
active_learning = dict(
    initial=dict(size=11829),
    rounds=10,
    target=None,
    budget=dict(size=11829, unit='images'))
