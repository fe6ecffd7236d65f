# Labelled images compete with the unlabelled ones: those with more entropy
# than the last one labelled are repeated in training.
_base_ = './fcos_entropy_digits.py'
active_learning = dict(candidates='all')
