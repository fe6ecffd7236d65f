# fcos-lite0-cached_neudet.py with a pool of 600 frames of 135 films, of which
# the longest 15 are half of all frames. 25 frames, then 3 x 30.
# tools/dataset/make_frames.py makes pool_redundant.json and images_redundant/
# beside pool.json (docs/benchmark.md has the command).
_base_ = './fcos-lite0-cached_neudet.py'
active_learning = dict(
    data=dict(
        ann_file='pool_redundant.json',
        data_prefix=dict(img='images_redundant/'),
        source='tools/dataset/make_frames.py (docs/benchmark.md has the '
        'command)'),
    budget=dict(size=30))
