"""One message for what a user can put right, and the exit status."""
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
