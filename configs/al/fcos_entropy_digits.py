# Entropy of one detector, averaged over positions and classes.
_base_ = './fcos_random_digits.py'
active_learning = dict(
    scorer=dict(
        _delete_=True, type='mmal.EntropyScorer', classes='separate'))
