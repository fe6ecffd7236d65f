# ISAL with K = 1 (eq. 3) over the last layer; 250 labelled images stand for
# all in the Hessian, the test set is the reference set (section 4.1).
_base_ = './resnet18_random_cifar100.py'
active_learning = dict(
    scorer=dict(
        _delete_=True, type='mmal.InfluenceScorer', hessian_images=250))
