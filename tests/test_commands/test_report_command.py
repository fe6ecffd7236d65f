"""``mmal report`` reads files: it needs neither torch nor a detector."""
import os
import subprocess
import sys

from mmal.fileio import write_json
from mmal.reporting import Curve, Record

WITHOUT = '''
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('torch', 'mmengine', 'mmcv', 'mmdet'):
            raise ModuleNotFoundError(f'{name} is blocked', name=name)
sys.meta_path.insert(0, Blocker())
'''
CODE = '''
import sys
from mmal.commands import main
status = main(sys.argv[1:])
loaded = {'torch', 'mmengine', 'mmcv', 'mmdet'} & set(sys.modules)
sys.exit(f'{loaded} was imported' if loaded else status)
'''


def test_the_report_is_made_without_torch_and_mmdet(tmp_path):
    runs = []
    for name, scorer, last in (('isal', 'isal', .4), ('random', 'random', .2)):
        for seed in (0, 1):
            runs.append(str(tmp_path / f'{name}_{seed}'))
            Curve([Record(r, 10 * r + 10, 30 * r + 30,
                          {'coco/bbox_mAP': v})
                   for r, v in enumerate((.1, last))],
                  'rounds').save(os.path.join(runs[-1], 'curve.json'))
            write_json(os.path.join(runs[-1], 'identity.json'), {
                'active_learning.scorer.type': scorer,
                'active_learning.seed': seed})
    printed = []
    # where they are installed nobody imports them; where not, nobody must
    for code in (CODE, WITHOUT + CODE):
        out = tmp_path / f'out_{len(printed)}'
        done = subprocess.run(
            [sys.executable, '-c', code, 'report', *runs, '--out', str(out)],
            text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert (out / 'curves.png').stat().st_size > 1000
        printed.append(done.stdout.replace(str(out), 'OUT'))
    assert printed[0] == printed[1]
    assert any(line.split()[:1] == ['isal'] and '0.400' in line.split()
               for line in printed[0].splitlines())
