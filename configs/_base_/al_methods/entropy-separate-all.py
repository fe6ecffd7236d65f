# Labelled images compete with the unlabelled ones: those with more entropy
# than the last one labelled are repeated in training.
_base_ = './entropy-separate.py'
al_method = dict(candidates='all')
