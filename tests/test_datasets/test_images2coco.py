import importlib.util
import os
import os.path as osp

from test_cifar import cifar10  # noqa: F401

TOOL = osp.join(
    osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__)))), 'tools',
    'dataset', 'images2coco.py')


def main(*args):
    spec = importlib.util.spec_from_file_location('images2coco', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(list(args))


def test_usual_files_become_coco_files(cifar10, tmp_path, capsys):  # noqa: F811
    root = str(tmp_path / 'coco')
    assert main('cifar10', cifar10, root) == 0
    assert capsys.readouterr().out.strip().endswith(root)
    assert {'pool.json', 'val.json', 'images'} <= set(os.listdir(root))


def test_what_is_missing_is_said_in_one_message(tmp_path, capsys):
    assert main('svhn', str(tmp_path), str(tmp_path / 'coco')) != 0
    assert 'train_32x32.mat' in ''.join(capsys.readouterr())
