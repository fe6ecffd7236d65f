"""What other libraries print and how they write."""
import logging

from mmal.compat.quiet import log_in_utf8


def test_a_log_in_an_ascii_locale_takes_every_character(tmp_path, capsys):
    path = tmp_path / 'a.log'
    logger = logging.Logger('test')
    # as FileHandler opens it where the locale is ASCII
    logger.addHandler(logging.FileHandler(path, encoding='ascii'))
    logger.addHandler(logging.NullHandler())
    log_in_utf8(logger)
    logger.warning('AP 0.1 → 0.2 ─ …')
    logger.handlers[0].close()
    assert path.read_text(encoding='utf-8') == 'AP 0.1 → 0.2 ─ …\n'
    assert 'Logging error' not in capsys.readouterr().err
