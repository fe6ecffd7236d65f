"""Reading the config of a data set."""
import pytest

from mmal.engine.dataset_config import image_loader
from mmal.pool import ImageLoader


@pytest.mark.parametrize('step, loader', [
    (dict(type='LoadImageFromFile'), ImageLoader()),
    (dict(type='mmcv.LoadImageFromFile', to_float32=True,
          imdecode_backend='pillow', color_type='unchanged'),
     ImageLoader('pillow', 'unchanged')),
    (dict(type='LoadImageFromFile', backend_args=None), ImageLoader()),
    (dict(type='LoadImageFromFile', backend_args=dict(backend='http')),
     ImageLoader(backend_args=dict(backend='http'))),
    (dict(type='LoadImageFromFile', file_client_args=dict(backend='disk')),
     ImageLoader()),
    (dict(type='LoadImageFromFile',
          file_client_args=dict(backend='http')),
     ImageLoader(backend_args=dict(backend='http'))),
    (dict(type='LoadImageFromFile', imdecode_backend=None), ImageLoader()),
    (dict(type='Resize', color_type='unchanged'), ImageLoader()),
])
def test_the_loader_of_a_pipeline(step, loader):
    pipeline = [dict(type='Own'), step, dict(type='PackDetInputs')]
    assert image_loader(pipeline) == loader


@pytest.mark.parametrize('args, message', [
    (dict(imdecode_backend='opencv'), "imdecode_backend is 'opencv'"),
    (dict(color_type=['color']), r"color_type is \['color'\]"),
    (dict(backend_args='http'), "backend_args is 'http': give a dict"),
    (dict(backend_args=dict(backend='ftp')),
     r"backend_args is \{'backend': 'ftp'\}.*cannot use"),
    (dict(file_client_args='disk'), "backend_args is 'disk': give a dict"),
])
def test_a_loader_that_loads_nothing_is_named(args, message):
    with pytest.raises(ValueError, match=f'^LoadImageFromFile.{message}'):
        image_loader([dict(args, type='LoadImageFromFile')])
