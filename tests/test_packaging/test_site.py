"""The site of the docs: all pages are in its menu, and its notebooks run."""
import importlib.util
import json
import os
import os.path as osp
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from helpers.forks import ROOT

DOCS = pathlib.Path(ROOT, 'docs')
NOTEBOOKS = sorted(DOCS.glob('tutorials/*.ipynb'))


def cells(path):
    """The cells of a notebook with code."""
    return [cell for cell in json.loads(path.read_text('utf-8'))['cells']
            if cell['cell_type'] == 'code']


def test_every_page_is_in_the_menu():
    config = pathlib.Path(ROOT, 'mkdocs.yml').read_text('utf-8')
    menu = config.split('\nnav:')[1]
    listed = re.findall(r'(\S+\.(?:md|ipynb))$', menu, re.M)
    # the leaderboards link to the tables of their tasks
    pages = [name for name in (p.relative_to(DOCS).as_posix()
                               for p in DOCS.rglob('*'))
             if name.endswith(('.md', '.ipynb'))
             and not re.match(r'leaderboard/(\w+/)?tasks/', name)]
    assert sorted(listed) == sorted([*pages, 'index.md'])


def test_the_page_of_methods_is_that_of_the_classes():
    path = osp.join(ROOT, 'tools', 'misc', 'list_methods.py')
    spec = importlib.util.spec_from_file_location('list_methods', path)
    list_methods = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(list_methods)
    page = pathlib.Path(list_methods.PAGE).read_text('utf-8')
    assert page == list_methods.page()
    assert '[`InfluenceScorer`](scoring.md#' in page
    assert '[`CoreSet`](selection.md#' in page
    assert 'math::' not in page
    # what a selector refuses to work without stands in its row
    matching, = [row for row in page.split('\n')
                 if row.startswith('| [`GradientMatching`]')]
    assert 'gradients of images' in matching
    # the title of its paper has a line that begins with "Costs"
    flipped, = [row for row in page.split('\n')
                if row.startswith('| [`FlipInconsistencyScorer`]')]
    assert flipped.endswith('| one forward pass of the image and one of its '
                            'mirror image. |')


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_a_committed_notebook_was_run_to_its_end(path):
    """In order and without an error, and it shows no folder of a machine."""
    counts = [cell['execution_count'] for cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [o for cell in cells(path) for o in cell['outputs']]
    assert {'image/png', 'image/jpeg'} & {
        kind for o in outputs for kind in o.get('data', {})}
    text = path.read_text('utf-8')
    assert not [o for o in outputs if o['output_type'] == 'error']
    assert 'error:' not in text
    assert not re.search(r'/(home|root|tmp|Users|work)/', text)
    assert len(text) < 400_000


@pytest.mark.site
@pytest.mark.run
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    """In an empty folder, as somebody who has downloaded it."""
    # its commands are those of this environment, activated or not
    monkeypatch.setenv('PATH', os.pathsep.join(
        [osp.dirname(sys.executable), os.environ['PATH']]))
    nbformat = pytest.importorskip('nbformat')
    client = pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.get('outputs', []).clear()
    client.NotebookClient(
        notebook, timeout=900, kernel_name='python3',
        resources=dict(metadata=dict(path=str(tmp_path)))).execute()
    text = ' '.join(o.get('text', '') for cell in notebook.cells
                    for o in cell.get('outputs', []))
    assert 'error:' not in text


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The whole site, built once."""
    for module in ('mkdocs', 'material', 'mkdocstrings', 'mkdocs_jupyter'):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp('site')
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir',
         str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.site
def test_the_site_is_built_without_a_warning(site):
    reference = (site / 'reference' / 'scoring.html').read_text('utf-8')
    assert 'id="mmal.scoring.InfluenceScorer"' in reference
    assert ':class:' not in reference and ':meth:' not in reference
    assert 'REFERENCE' not in reference
    # files outside of docs/ are pages, and are linked to as such
    assert (site / 'source' / 'configs' / 'isal' / 'index.html').is_file()
    runs = (site / 'runs.html').read_text('utf-8')
    assert 'href="source/configs/_base_/al_methods/isal.py.html"' in runs


@pytest.mark.site
def test_search_needs_neither_a_server_nor_a_network(site):
    playwright = pytest.importorskip('playwright.sync_api')
    chromium = shutil.which('chromium') or shutil.which('google-chrome')
    if chromium is None:
        pytest.skip('there is no chromium')
    complaints = []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=chromium, args=['--no-sandbox'])
        page = browser.new_page()
        page.on('console', lambda m: m.type == 'error'
                and complaints.append(m.text))
        page.on('pageerror', lambda e: complaints.append(str(e)))
        page.on('request', lambda r: r.url.startswith('http')
                and complaints.append(r.url))
        page.goto((site / 'index.html').as_uri())
        page.keyboard.press('/')
        page.keyboard.type('damping')
        page.locator('.md-search-result__item').first.wait_for(timeout=60_000)
        browser.close()
    assert not complaints
