"""One message for what a user can put right, and the exit status."""
import errno
import os
import subprocess
import sys
import textwrap

import pytest

from mmal.commands.errors import run_or_explain
from mmal.pool import LabelsPending


@pytest.mark.parametrize('error, status', [
    (ValueError('wrong key'), 1),
    (FileNotFoundError('no file'), 1),
    (LabelsPending('label these', [1]), 3),
])
def test_expected_errors_are_one_message(error, status, capsys):

    def work():
        raise error

    assert run_or_explain(work, 'al_train.py') == status
    text = capsys.readouterr().err
    assert str(error) in text and 'Traceback' not in text


def test_bugs_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_or_explain(lambda: 1 / 0, 'al_train.py')


@pytest.mark.parametrize('resumable', [True, False])
def test_ctrl_c_is_a_sentence_and_a_status_of_its_own(resumable, capsys):

    def work():
        raise KeyboardInterrupt

    assert run_or_explain(work, 'mmal train', resumable) == 130
    text = capsys.readouterr().err
    assert text.startswith('mmal train: stopped.') and text.count('\n') == 1
    assert ('--resume' in text) == resumable


def test_a_request_to_stop_has_a_status_of_its_own(capsys):
    from mmal.engine.stop_request import StopRequested

    def work():
        raise StopRequested('SIGTERM')

    assert run_or_explain(work, 'mmal train', resumable=True) == 75
    text = capsys.readouterr().err
    assert 'SIGTERM' in text and '--resume' in text


@pytest.mark.parametrize('text, meaning', [
    ('DataLoader worker (pid(s) 1234) exited unexpectedly', 'memory'),
    ('DataLoader worker (pid 5) is killed by signal: Killed. ', 'memory'),
    ('[pair.cc:534] Connection closed by peer [127.0.0.1]:3', 'group is gone'),
    ('[pair.cc:553] Read error [127.0.0.1]:8: Connection reset by peer',
     'group is gone'),
    ('NCCL error: remote process exited or there was a network error',
     'group is gone'),
])
def test_killed_workers_and_lost_peers_are_explained(text, meaning, capsys):

    def work():
        try:
            raise RuntimeError(text)
        except RuntimeError as e:  # as torch passes it on
            raise RuntimeError('in a collective') from e

    assert run_or_explain(work, 'mmal train', resumable=True) == 1
    shown = capsys.readouterr().err
    assert meaning in shown and '--resume' in shown
    assert 'Traceback' not in shown


def test_other_errors_of_torch_keep_their_traceback():

    def work():
        raise RuntimeError('mat1 and mat2 shapes cannot be multiplied')

    with pytest.raises(RuntimeError, match='mat1'):
        run_or_explain(work, 'mmal train')


@pytest.mark.parametrize('code', [
    errno.EIO, errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS,
    errno.EACCES])
def test_an_error_of_the_disk_says_what_to_do(code, capsys):

    def work():
        raise OSError(code, os.strerror(code), '/data/a.png')

    assert run_or_explain(work, 'mmal train', resumable=True) == 1
    text = capsys.readouterr().err
    assert '/data/a.png' in text and '--resume' in text
    assert os.strerror(code) in text and 'Traceback' not in text


ASCII = dict(os.environ, PYTHONIOENCODING='ascii', LC_ALL='C')


def python(code, **kwargs):
    """Run code in a python whose streams know ASCII alone."""
    return subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(code)], env=ASCII,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)


def test_tables_and_logs_on_an_ascii_terminal():
    process = python("""
        import logging, sys
        from mmal.commands.errors import run_or_explain
        from mmal.reporting import Curve, Record, round_table

        def work():
            logging.basicConfig(stream=sys.stdout)
            logging.warning(round_table(Curve([Record(0, 40, 123)])))
            print('über 2 → 4 images …')

        sys.exit(run_or_explain(work, 'mmal train'))""")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and err == b'', err
    assert b'-----' in out and b'?ber 2 -> 4 images ...' in out
    assert b'Logging error' not in out


def test_a_reader_that_has_gone_is_a_sentence():
    process = python("""
        import sys
        from mmal.commands.errors import run_or_explain

        def work():
            for _ in range(100_000):
                print('a line')

        sys.exit(run_or_explain(work, 'mmal report'))""")
    process.stdout.close()
    err = process.stderr.read().decode()
    assert process.wait(timeout=120) == 141
    assert 'nobody reads' in err and err.count('\n') == 1
