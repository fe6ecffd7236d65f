# Random images for the mixture network ("Random_mix").
_base_ = './ssd300_random_voc0712.py'
model = dict(bbox_head=dict(type='mmal.MDNSSDHead'))
