# A query takes images from all: those trained on before compete, and are
# repeated in training if reselected ("AL, [Xu, Xl]" of table IV).
_base_ = './mi-max.py'
al_method = dict(candidates='all', budget=dict(repeats='counted'))
