# Random images for the mixture network ("Random_mix").
_base_ = './ssd300_random_coco.py'
model = dict(bbox_head=dict(type='mmal.MDNSSDHead'))
