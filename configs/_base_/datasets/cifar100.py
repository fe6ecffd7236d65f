# CIFAR-100. Its python files are unpacked into data/cifar-100-python.
_base_ = './cifar10.py'
data_source = 'data/cifar-100-python'
data_root = 'data/cifar100/'
metainfo = dict(
    classes=('apple', 'aquarium_fish', 'baby', 'bear', 'beaver', 'bed',
             'bee', 'beetle', 'bicycle', 'bottle', 'bowl', 'boy', 'bridge',
             'bus', 'butterfly', 'camel', 'can', 'castle', 'caterpillar',
             'cattle', 'chair', 'chimpanzee', 'clock', 'cloud', 'cockroach',
             'couch', 'crab', 'crocodile', 'cup', 'dinosaur', 'dolphin',
             'elephant', 'flatfish', 'forest', 'fox', 'girl', 'hamster',
             'house', 'kangaroo', 'keyboard', 'lamp', 'lawn_mower',
             'leopard', 'lion', 'lizard', 'lobster', 'man', 'maple_tree',
             'motorcycle', 'mountain', 'mouse', 'mushroom', 'oak_tree',
             'orange', 'orchid', 'otter', 'palm_tree', 'pear',
             'pickup_truck', 'pine_tree', 'plain', 'plate', 'poppy',
             'porcupine', 'possum', 'rabbit', 'raccoon', 'ray', 'road',
             'rocket', 'rose', 'sea', 'seal', 'shark', 'shrew', 'skunk',
             'skyscraper', 'snail', 'snake', 'spider', 'squirrel',
             'streetcar', 'sunflower', 'sweet_pepper', 'table', 'tank',
             'telephone', 'television', 'tiger', 'tractor', 'train', 'trout',
             'tulip', 'turtle', 'wardrobe', 'whale', 'willow_tree', 'wolf',
             'woman', 'worm'))
# Of the training images, in the order red, green, blue.
mean = [129.3, 124.1, 112.4]
std = [68.2, 65.4, 70.4]

train_dataloader = dict(
    dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = val_dataloader
