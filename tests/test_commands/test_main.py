"""The command ``mmal``: what it finds, what it refuses, what it imports."""
import glob
import os.path as osp
import shutil
import subprocess
import sys

import pytest
from helpers.label_files import write_photo

from mmal.commands import main
from mmal.commands.main import COMMANDS
from mmal.fileio import read_json, write_json

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
ANALYSES = [
    osp.splitext(osp.basename(p))[0].replace('_', '-')
    for p in glob.glob(f'{ROOT}/mmal/commands/analysis/[a-z]*.py')]
PATHS = [[c] for c in COMMANDS if c not in ('analysis', 'labels')] + [
    ['analysis', a] for a in ANALYSES] + [
    ['labels', c] for c in ('export', 'import', 'status')]


def stopped(*argv):
    """The exit status of a command that does not get to run."""
    with pytest.raises(SystemExit) as stop:
        main(argv)
    return stop.value.code


@pytest.mark.parametrize('path', PATHS, ids=' '.join)
def test_help_shows_examples_that_can_be_read(path, capsys):
    assert stopped(*path, '--help') == 0
    text = capsys.readouterr().out
    name = ' '.join(['mmal', *path])
    assert text.startswith(f'usage: {name} ')
    examples = text[text.index('examples:'):].replace('\\\n', ' ')
    lines = [line.split() for line in examples.splitlines()
             if line.startswith(f'  {name} ')]
    assert lines


def test_commands_are_listed(capsys):
    assert stopped('--help') == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f'\n  {command} ' in text
    assert main([]) == 2
    assert stopped('--version') == 0
    assert stopped('analysis', '--help') == 0
    listed = capsys.readouterr().out
    assert len(ANALYSES) == 11
    for analysis in ANALYSES:
        assert f'\n  {analysis} ' in listed


@pytest.mark.parametrize('argv, message', [
    (['trian'], "'trian', did you mean 'train'?"),
    (['analysis', 'score-mop'], "did you mean 'score-map'?"),
    (['xyzzy'], "there is no command 'xyzzy', but check, train"),
    (['select', 'a.py', 'a.pth', '--budget', '0'],
     "--budget: '0' is no whole number of at least 1"),
    (['select', 'a.py', 'a.pth', '--budget', '-3'], "'-3' is no whole"),
    (['select', 'a.py', 'a.pth', '--budget', '2.5'], "'2.5' is no whole"),
    (['train', 'a.py', '--seed', 'x'], "--seed: 'x' is no whole number"),
    (['train', 'a.py', '--cfg-options', 'a.b'], "'a.b' is no KEY=VALUE"),
    (['train', 'a.py', '--cfg-options', '=1'], "'=1' is no KEY=VALUE"),
    (['analysis', 'draw-uncertainties', 'a.py', 'a.pth', 'a.jpg', '--out',
      'out', '--score-thr', '1.5'], "'1.5' is no number from 0 to 1"),
    (['pool', 'photos', '-o', 'pool.txt'], 'pool.txt must end in .json'),
    (['pool', 'pool.json', '-o', './pool.json'], 'is the source itself'),
    (['analysis', 'reliability', '--out', 'a.png'], 'give --model or'),
    (['analysis', 'calibrate', 'a.py', '--out', 'a.json'],
     'give CONFIG and CHECKPOINT, or --predictions'),
    (['analysis', 'calibrate', '--predictions', 'a.pkl', '--out', 'a.json'],
     '--predictions needs --ann-file'),
    (['analysis', 'calibrate', 'a.py', 'a.pth', '--out', 'a.json', '--level',
      '1'], '--level must be between 0 and 1'),
])
def test_mistakes_in_arguments_are_told_at_once(argv, message, capsys):
    assert stopped(*argv) == 2
    assert message in capsys.readouterr().err


def test_a_missing_file_is_one_message(tmp_path, capsys):
    assert main(['train', f'{tmp_path}/gone.py']) == 1
    error = capsys.readouterr().err
    assert error.startswith('mmal train: error: there is no config ')
    assert 'Traceback' not in error


def test_values_of_options_reach_the_config(tmp_path):
    from mmal.engine.cli import read_options
    assert read_options(['a.b=1', 'c=[1,2.5]', 'd=None', 'e=x=y', 'a.b=2']
                        ) == {'a.b': 2, 'c': [1, 2.5], 'd': None, 'e': 'x=y'}
    assert read_options([]) == {}
    with pytest.raises(ValueError, match=r'--cfg-options a=\[1'):
        read_options(['a=[1,(2]'])


def test_choices_are_those_of_what_is_called():
    from mmal.analysis import ab as analysis
    from mmal.commands import ab, pool
    from mmal.pool.formats.source import FORMS
    assert tuple(analysis.METRICS) == ab.METRICS
    assert analysis.TESTS == ab.TESTS
    assert pool.FORMS == FORMS


def test_a_pool_of_photos(tmp_path, capsys):
    write_photo(f'{tmp_path}/photos/a.jpg', (40, 30))
    out = f'{tmp_path}/new/pool.json'
    assert main(['pool', f'{tmp_path}/photos', '-o', out, '--classes',
                 'helmet', 'vest']) == 0
    printed = capsys.readouterr().out
    assert 'is read as images' in printed and 'several ids' not in printed
    assert read_json(out)['images'] == [
        dict(id=1, file_name='a.jpg', width=40, height=30)]
    # the same photo again, under another name
    shutil.copy(f'{tmp_path}/photos/a.jpg', f'{tmp_path}/photos/b.jpg')
    assert main(['pool', f'{tmp_path}/photos', '-o', out, '--classes',
                 out]) == 0
    assert '1 photos under several ids' in capsys.readouterr().out
    assert [i['id'] for i in read_json(out)['images']] == [1, 2]


def test_a_pool_overwrites_no_labels(tmp_path, capsys):
    write_photo(f'{tmp_path}/photos/a.jpg', (40, 30))
    labels = dict(
        images=[dict(id=1, file_name='a.jpg', width=40, height=30)],
        annotations=[dict(id=1, image_id=1, category_id=1, area=4,
                          bbox=[0, 0, 2, 2], iscrowd=0)],
        categories=[dict(id=1, name='helmet')])
    mine, source = f'{tmp_path}/mine.json', f'{tmp_path}/source.json'
    for path in (mine, source):
        write_json(path, labels)
    notes = tmp_path / 'notes.json'
    notes.write_text('buy milk')
    images = [f'{tmp_path}/photos', '--classes', 'helmet']
    coco = [source, '--images', f'{tmp_path}/photos']
    for arguments, out in ((images, mine), (coco, mine),
                           (images, str(notes)), (coco, str(notes))):
        assert main(['pool', *arguments, '-o', out]) == 1
        assert out in capsys.readouterr().err
    assert read_json(mine) == labels
    assert notes.read_text() == 'buy milk'


IMPORTED = '''
import sys
from mmal.commands import main
try:
    status = main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
print('IMPORTED', status, *sorted({m.partition('.')[0] for m in sys.modules}))
'''


def imported(*argv, code=IMPORTED):
    """Exit status and packages that a command imports in a new process."""
    done = subprocess.run([sys.executable, '-c', code, *argv], text=True,
                          capture_output=True, cwd=ROOT, check=True)
    line = next(line for line in done.stdout.splitlines()
                if line.startswith('IMPORTED'))
    _, status, *packages = line.split()
    return int(status), set(packages), done


HEAVY = {'torch', 'mmengine', 'mmcv', 'mmdet', 'numpy', 'matplotlib', 'cv2',
         'scipy'}


@pytest.mark.parametrize('argv', [
    ['--help'], ['train', '--help'], ['analysis', 'reliability', '--help'],
    ['select', 'a.py', 'a.pth', '--budget', '0']])
def test_arguments_are_read_before_anything_is_imported(argv):
    assert not imported(*argv)[1] & HEAVY


def test_mmal_can_be_run_as_a_module():
    done = subprocess.run([sys.executable, '-m', 'mmal', 'trian'], text=True,
                          capture_output=True, cwd=ROOT)
    assert done.returncode == 2 and "did you mean 'train'" in done.stderr


BLOCKED = '''
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('torch', 'mmengine', 'mmcv', 'mmdet'):
            raise ModuleNotFoundError(f'no {name}', name=name)
sys.meta_path.insert(0, Blocker())
''' + IMPORTED


def test_a_command_without_its_packages_says_what_to_install(tmp_path):
    status, _, done = imported('train', f'{tmp_path}/a.py', code=BLOCKED)
    assert status == 1
    assert 'mmal train: error: mmal needs torch' in done.stderr
    assert 'pip install' in done.stderr and 'Traceback' not in done.stderr
