# SVHN, format 2: train_32x32.mat and test_32x32.mat lie in data/svhn_mat.
# The paper flips its images too (section 4.1).
_base_ = './cifar10.py'
data_source = 'data/svhn_mat'
data_root = 'data/svhn/'
metainfo = dict(
    classes=('0', '1', '2', '3', '4', '5', '6', '7', '8', '9'))
# Of the training images, in the order red, green, blue.
mean = [111.6, 113.2, 120.6]
std = [50.5, 51.3, 50.2]

train_dataloader = dict(
    dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = val_dataloader
