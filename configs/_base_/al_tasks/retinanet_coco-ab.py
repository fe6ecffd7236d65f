# retinanet_coco.py with 35,000 images for a reference model and one query for
# 800 (table V of Scalable AL): the paper's 850,000, 2 million unlabelled and
# 19,000 chosen, as parts of COCO. Its pool is of night-time images, by what a
# car records; COCO's photos have no time of day, so that all of them compete.
_base_ = './retinanet_coco.py'
active_learning = dict(initial=dict(size=35000), budget=dict(size=800))
