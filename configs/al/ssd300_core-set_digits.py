# Core-set (Sener & Savarese, 2018): images far from all labelled ones.
_base_ = './ssd300_random_digits.py'
active_learning = dict(selector=dict(type='mmal.CoreSet'))
