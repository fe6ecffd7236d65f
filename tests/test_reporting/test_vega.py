import sys
import types

import pytest

from mmal.reporting.vega import vega_scripts


@pytest.fixture
def package(tmp_path, monkeypatch):
    """What is bundled, in place of the package, which takes seconds; and an
    empty cache folder."""
    package = types.SimpleNamespace(
        __version__='1.2.3', bundled=0, text='a = "</script>";')

    def bundle():
        package.bundled += 1
        return package.text

    package.javascript_bundle = bundle
    monkeypatch.setitem(sys.modules, 'vl_convert', package)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    vega_scripts.cache_clear()
    yield package
    vega_scripts.cache_clear()


def scripts():
    """As a new process reads them."""
    vega_scripts.cache_clear()
    return vega_scripts()


def test_a_bundle_is_made_once_and_cannot_end_the_script(package, tmp_path):
    assert scripts() == scripts() == r'a = "<\/script>";'
    assert package.bundled == 1
    assert (tmp_path / 'mmal' / 'vega-1.2.3.js').read_text() == scripts()


@pytest.mark.parametrize('content', [b'', b'\xff\xfe'])
def test_a_kept_file_that_is_empty_or_broken_is_made_again(
        package, tmp_path, content):
    path = tmp_path / 'mmal' / 'vega-1.2.3.js'
    path.parent.mkdir()
    path.write_bytes(content)
    assert scripts() == r'a = "<\/script>";'
    assert path.read_text() == scripts() and package.bundled == 1


def test_a_cache_that_cannot_be_written_is_done_without(package, tmp_path):
    (tmp_path / 'mmal').write_text('a file where a folder should be')
    assert scripts() == r'a = "<\/script>";'


def test_without_the_package_there_are_none(package, monkeypatch):
    monkeypatch.setitem(sys.modules, 'vl_convert', None)
    assert scripts() is None
