# fcos-lite0-cached_neudet.py with a pool of 520 images, whose six classes have
# 225, 150, 75, 40, 20 and 10 of them; validation has about 75 of each. 40
# images, then 3 x 40. tools/dataset/draw_longtail.py makes pool_longtail.json
# beside pool.json (docs/benchmark.md has the command).
_base_ = './fcos-lite0-cached_neudet.py'
active_learning = dict(
    data=dict(
        ann_file='pool_longtail.json',
        source='tools/dataset/draw_longtail.py (docs/benchmark.md has the '
        'command)'),
    initial=dict(size=40))
