"""The page as a person uses it, in a headless Chromium."""
import pathlib
import shutil

import pytest
from helpers.work_folders import make_work_folder

from mmal.fileio import read_json, write_json
from mmal.reporting import (
    Comparison,
    Curve,
    MergedCurve,
    Record,
    Run,
    merged_tables,
    write_report,
)
from mmal.reporting import report as report_module

playwright = pytest.importorskip('playwright.sync_api')
pytest.importorskip('vl_convert')
CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')

HOSTILE = '<img src=x onerror="window.hacked=1">'


@pytest.fixture(scope='module')
def chromium():
    """A browser that is there for all tests."""
    if CHROMIUM is None:
        pytest.skip('there is no chromium')
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Opens a file; at the end nothing may have been complained of."""
    complaints, pages = [], []

    def open_page(path, part='', **options):
        page = chromium.new_page(**options)
        pages.append(page)
        page.set_default_timeout(20_000)
        page.on('console', lambda m: m.type in ('error', 'warning')
                and complaints.append(m.text))
        page.on('pageerror', lambda e: complaints.append(str(e)))
        page.on('request', lambda r: r.url.startswith('http')
                and complaints.append(r.url))
        page.goto(pathlib.Path(path).absolute().as_uri() + part)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not complaints


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    """The page of a finished run, one of whose names is a trap."""
    work = make_work_folder(str(tmp_path_factory.mktemp('run')), images=40,
                            per_round=8)
    for path in pathlib.Path(work).glob('round_*/labelled.json'):
        coco = read_json(str(path))
        coco['categories'][2]['name'] = HOSTILE
        write_json(str(path), coco)
    random = Curve([Record(r, 6 + 8 * r, 10 + 9 * r, {
        'coco/bbox_mAP': 0.1 + 0.05 * r}) for r in range(3)], 'rounds')
    curves = [MergedCurve('influence', [
        Run('a', Curve.load(work), 0), Run('b', random, 1)]),
        MergedCurve('random', [Run('c', random, 0)])]
    others = [make_work_folder(
        str(tmp_path_factory.mktemp('other')), images=40, per_round=8,
        real_photos=False, seed=seed) for seed in (1, 2)]
    return write_report(work, comparison=Comparison(
        curves, merged_tables(curves), ['A note.']), baseline=others)


@pytest.fixture(scope='module')
def waiting(tmp_path_factory):
    """The page of a run that waits for labels."""
    return write_report(make_work_folder(
        str(tmp_path_factory.mktemp('waiting')), images=30, waiting=True))


def names(page):
    return page.locator('.shot b').all_inner_texts()


def test_every_chart_is_drawn(visit, report):
    page = visit(report)
    drawn = []
    for tab in page.get_by_role('tab').all():
        tab.click()
        for chart in page.locator('[data-chart]:visible').all():
            chart.locator('svg .mark-symbol path, svg .mark-rect path, '
                          'svg .mark-line path').first.wait_for()
            drawn.append(chart.get_attribute('data-chart'))
    assert sorted(drawn) == ['balance', 'class_ap', 'class_boxes', 'compare',
                             'curve', 'map', 'scores', 'time']
    page.click('#tab-overview')
    page.click('[data-choose=curve][data-by=boxes]')
    page.get_by_text('labelled boxes', exact=True).nth(1).wait_for()
    assert not page.evaluate('window.hacked')


def test_the_curve_has_a_baseline_and_the_balance_all_candidates(
        visit, report):
    page = visit(report)
    band = page.locator('[data-chart=curve] .mark-area path')
    band.first.wait_for()
    assert band.count() >= 2  # of AP and AP50
    dotted = page.locator('[data-chart=curve] [stroke-dasharray="2,4"]')
    assert dotted.count() == 2
    text = page.locator('#part-overview').inner_text()
    assert 'Dotted is the baseline, the mean of 2 runs' in text
    page.click('#tab-data')
    legend = page.locator('[data-chart=balance] .role-legend-label text')
    legend.first.wait_for()
    assert '26 candidates, as predicted' in legend.all_text_contents()
    page.click('[data-choose=balance][data-by="all rounds"]')
    page.get_by_text('first labelled set', exact=True).wait_for()


def test_the_compare_tab_has_tables_and_bands(visit, report):
    page = visit(report, '#compare')
    table = page.locator('#part-compare table').first
    assert 'influence' in table.inner_text() and 'random' in table.inner_text()
    assert 'A note.' in page.locator('#part-compare').inner_text()


def test_the_gallery_filters_and_sorts(visit, report):
    page = visit(report, '#images')
    page.locator('.shot').first.wait_for()
    everything = names(page)
    assert len(everything) == 17

    page.select_option('[name=round]', '0')
    assert names(page) == everything[:8]
    page.select_option('[name=round]', '')
    page.select_option('[name=how]', 'reselected')
    assert len(names(page)) == 1
    page.select_option('[name=how]', '')
    page.fill('[name=text]', everything[3])
    assert set(names(page)) == {everything[3]}
    page.fill('[name=text]', '')

    scores = page.evaluate(
        'JSON.parse(document.getElementById("report-data").textContent)'
        '.images.map((image) => image.score)')
    page.fill('[name=low]', '0.5')
    assert len(names(page)) == sum(s >= 0.5 for s in scores)
    page.fill('[name=low]', '')

    # of two classes each image has none, one or both
    page.select_option('[name=class]', label=HOSTILE)
    assert 0 < len(names(page)) < 17
    page.select_option('[name=class]', '')
    page.select_option('[name=order]', 'score')
    assert names(page)[0] == everything[scores.index(max(scores))]
    assert 'of 17 images' in page.inner_text('#found')
    assert not page.evaluate('window.hacked')


def test_an_image_is_enlarged_with_its_boxes(visit, report):
    page = visit(report, '#images')
    page.locator('.shot').first.click()
    dialog = page.locator('dialog[open]')
    dialog.wait_for()
    first = page.inner_text('#large-name')
    data = page.evaluate('JSON.parse(document.getElementById('
                         '"report-data").textContent).images[0]')
    sure = [box for box in data['seen'] if box[5] >= 0.3]
    assert dialog.locator('g.truth').count() == len(data['truth'])
    assert dialog.locator('g.seen').count() == len(sure)
    assert 'Highest influence of' in page.inner_text('#facts')
    assert 'pseudo labels' in page.inner_text('#facts')

    # a box lies where it is on the photo, whose file the page has found
    page.wait_for_function(
        'document.querySelector("#stage img").src.startsWith("file:")')
    photo = dialog.locator('.photo').bounding_box()
    box = dialog.locator('g.seen .over').first.bounding_box()
    scale = photo['width'] / data['size'][0]
    assert abs(box['x'] - photo['x'] - sure[0][1] * scale) < 3
    assert abs(box['height'] - sure[0][4] * scale) < 4

    page.keyboard.press('p')
    assert not dialog.locator('g.seen').first.is_visible()
    page.keyboard.press('p')
    page.keyboard.press('ArrowRight')
    assert page.inner_text('#large-name') != first
    page.keyboard.press('ArrowLeft')
    assert page.inner_text('#large-name') == first
    page.keyboard.press('Escape')
    assert page.locator('dialog[open]').count() == 0
    # back where the keyboard was
    assert page.evaluate('document.activeElement.className') == 'shot'


def test_tabs_and_gallery_by_keyboard_alone(visit, report):
    page = visit(report)
    page.focus('#tab-overview')
    page.keyboard.press('ArrowRight')
    assert page.evaluate('document.activeElement.id') == 'tab-images'
    page.locator('.shot').first.wait_for()
    page.focus('.shot')
    page.keyboard.press('Enter')
    page.locator('dialog[open]').wait_for()


def test_light_and_dark(visit, report):
    def ground(page):
        return page.evaluate('getComputedStyle(document.body).backgroundColor')

    light, dark = (visit(report, color_scheme=scheme)
                   for scheme in ('light', 'dark'))
    colours = ground(light), ground(dark)
    assert colours[0] != colours[1]
    # the button gives each the other's
    light.click('#theme')
    dark.click('#theme')
    assert (ground(dark), ground(light)) == colours
    light.click('#theme')
    assert ground(light) == colours[0]


def are_shown(page):
    page.locator('.shot').first.wait_for()
    page.wait_for_function('[...document.querySelectorAll(".shot img")]'
                           '.every((img) => img.naturalWidth > 0)')
    return page.locator('.shot img').count()


def test_a_page_alone_keeps_its_pictures(visit, report, tmp_path):
    moved = shutil.copy(report, tmp_path / 'elsewhere.html')
    assert are_shown(visit(moved, '#images')) == 17


def test_pictures_beside_a_page_move_with_it(visit, tmp_path, monkeypatch):
    monkeypatch.setattr(report_module, 'LARGEST_PAGE', 250_000)
    work = make_work_folder(str(tmp_path / 'run'), images=40, per_round=8)
    page = pathlib.Path(write_report(work))
    assert (page.parent / 'report_files').is_dir()
    moved = tmp_path / 'elsewhere'
    moved.mkdir()
    page.rename(moved / page.name)
    (page.parent / 'report_files').rename(moved / 'report_files')
    shutil.rmtree(tmp_path / 'run')
    assert are_shown(visit(moved / page.name, '#images')) == 17


def test_an_image_whose_boxes_are_left_out_counts_no_mistakes(
        visit, tmp_path, monkeypatch):
    monkeypatch.setattr(report_module, 'LARGEST_PAGE', 250_000)
    page = visit(write_report(make_work_folder(str(tmp_path))), '#images')
    page.locator('.shot').first.wait_for()
    badges = page.locator('.shot').first.locator('.badge').all_inner_texts()
    assert badges == ['boxes left out']
    page.locator('.shot').first.click()
    page.locator('dialog[open]').wait_for()
    facts = page.inner_text('#facts')
    assert 'of its boxes are left out' in facts and 'verlooked' not in facts


def test_a_run_that_waits_shows_its_request(visit, waiting):
    page = visit(waiting)
    page.get_by_text('Show the images').click()
    page.locator('.shot').first.wait_for()
    assert len(names(page)) == 6
    page.locator('.shot').first.click()
    dialog = page.locator('dialog[open]')
    dialog.wait_for()
    assert dialog.locator('g.seen').count() > 0
    assert dialog.locator('g.truth').count() == 0
    assert 'Nobody has labelled it yet' in page.inner_text('#facts')
