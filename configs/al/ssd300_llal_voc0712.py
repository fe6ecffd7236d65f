# The loss that a head of the detector predicts chooses ("LLAL").
_base_ = './ssd300_random_voc0712.py'
model = dict(type='mmal.LearningLossDetector')
active_learning = dict(scorer=dict(type='mmal.LearningLossScorer'))
