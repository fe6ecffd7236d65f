"""In a process of its own, since it cannot be undone."""
import subprocess
import sys

import pytest

SCRIPT = '''
import resource, torch
from mmal.compat.malloc import keep_freed_memory
if {keep}:
    assert keep_freed_memory()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(100 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for _ in range(4):
    faults()
print(faults())
'''


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc only')
def test_large_blocks_are_used_again():
    counts = []
    for keep in (False, True):
        done = subprocess.run(
            [sys.executable, '-c', SCRIPT.format(keep=keep)],
            capture_output=True, text=True, check=True)
        counts.append(int(done.stdout.split()[-1]))
    assert counts[1] < counts[0] / 10
