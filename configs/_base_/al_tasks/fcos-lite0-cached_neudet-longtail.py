# fcos-lite0-cached_neudet.py with a pool of 520 images in which five of six
# classes are the rarer the later they come in 225, 150, 75, 40, 20 and 10
# images; validation has 75 or so of each. 40 images, then 3 x 60.
# tools/dataset/draw_longtail.py makes pool_longtail.json beside pool.json;
# --cfg-options active_learning.data.ann_file=… names it elsewhere.
_base_ = './fcos-lite0-cached_neudet.py'
active_learning = dict(
    data=dict(
        ann_file='pool_longtail.json',
        source='tools/dataset/draw_longtail.py (docs/benchmark.md has the '
        'command)'),
    initial=dict(size=40),
    budget=dict(size=60))
