'use strict';
(() => {
  const data = JSON.parse(document.getElementById('report-data').textContent);
  const $ = (id) => document.getElementById(id);
  const SVG = 'http://www.w3.org/2000/svg';
  // Names come from others: texts are set as texts, never as HTML.
  const make = (tag, cls, text) => {
    const element = document.createElement(tag);
    if (cls) element.className = cls;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const store = {  // a page opened from a file may be refused a storage
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, value); } catch { /* stays for now */ } },
  };

  // light and dark
  const system = matchMedia('(prefers-color-scheme: dark)');
  let chosenTheme = store.get('mmal-theme');
  const setTheme = () => {
    document.documentElement.dataset.theme =
      chosenTheme || (system.matches ? 'dark' : 'light');
  };
  setTheme();
  system.addEventListener('change', () => { setTheme(); drawAgain(); });
  $('theme').addEventListener('click', () => {
    chosenTheme = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
    store.set('mmal-theme', chosenTheme);
    setTheme();
    drawAgain();
  });

  // charts, drawn when they are first seen: hidden ones have no width
  const by = {};
  const drawn = new Map();
  const chartConfig = () => {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = {
      labelColor: colour('--soft'), titleColor: colour('--soft'),
      gridColor: colour('--line'), domainColor: colour('--line'),
      tickColor: colour('--line'), titleFontWeight: 500, labelFontSize: 11,
      titleFontSize: 12, titlePadding: 8,
    };
    return {
      background: 'transparent', font: 'system-ui, sans-serif', axis,
      view: { stroke: null }, axisX: { grid: false },
      legend: { labelColor: colour('--text'), titleColor: colour('--soft'),
        orient: 'top', symbolType: 'circle', symbolOpacity: 1, labelLimit: 320,
        labelFontSize: 12, columns: 5 },

      text: { color: colour('--text') },
    };
  };
  async function draw(element) {
    const name = element.dataset.chart;
    const choices = data.charts[name];
    if (!choices || !window.vegaEmbed) return;
    const key = by[name] ?? Object.keys(choices)[0];
    const ticket = Symbol('newest');
    element.ticket = ticket;
    const result = await vegaEmbed(element, structuredClone(choices[key]), {
      mode: 'vega-lite', renderer: 'svg', ast: true, config: chartConfig(),
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: name,
      tooltip: { theme: document.documentElement.dataset.theme },
    });
    if (element.ticket !== ticket) { result.finalize(); return; }
    drawn.get(element)?.finalize();
    drawn.set(element, result);
    element.dataset.drawn = key || 'yes';
    if (name === 'map') {
      result.view.addEventListener('click', (event, item) => {
        const image = item?.datum?.image;
        if (image !== undefined) enlarge(image, data.images);
      });
    }
  }
  const visible = (element) => element.offsetParent !== null;
  const drawVisible = () => {
    for (const element of document.querySelectorAll('[data-chart]')) {
      if (visible(element) && !element.dataset.begun) {
        element.dataset.begun = 'yes';
        draw(element);
      }
    }
  };
  function drawAgain() {
    for (const element of document.querySelectorAll('[data-chart]')) {
      delete element.dataset.begun;
    }
    drawVisible();
  }
  for (const button of document.querySelectorAll('[data-choose]')) {
    button.addEventListener('click', () => {
      const name = button.dataset.choose;
      by[name] = button.dataset.by;
      for (const other of document.querySelectorAll('[data-choose]')) {
        if (other.dataset.choose === name) {
          other.setAttribute('aria-pressed', String(other === button));
        }
      }
      draw(document.querySelector(`[data-chart="${name}"]`));
    });
  }
  for (const select of document.querySelectorAll('[data-choose-from]')) {
    select.addEventListener('change', () => {
      by[select.dataset.chooseFrom] = select.value;
      draw(document.querySelector(`[data-chart="${select.dataset.chooseFrom}"]`));
    });
  }

  // tabs
  const tabs = [...document.querySelectorAll('[role=tab]')];
  function open(tab, focus) {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute('aria-selected', String(chosen));
      other.tabIndex = chosen ? 0 : -1;
    }
    // a part without a tab has nothing to show
    for (const part of document.querySelectorAll('.part')) {
      part.hidden = part.id !== tab.getAttribute('aria-controls');
    }
    if (focus) tab.focus();
    if (location.hash.slice(1) !== tab.id.slice(4)) {
      history.replaceState(null, '', '#' + tab.id.slice(4));
      scrollTo(0, 0);
    }
    drawVisible();
    if (tab.id === 'tab-images') fill();
  }
  for (const [i, tab] of tabs.entries()) {
    tab.addEventListener('click', () => open(tab));
    tab.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) open(tabs[(i + step + tabs.length) % tabs.length], true);
    });
  }

  // predicted against labelled
  const overlap = (a, b) => {
    const w = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
    const h = Math.min(a[2] + a[4], b[2] + b[4]) - Math.max(a[2], b[2]);
    if (w <= 0 || h <= 0) return 0;
    return w * h / (a[3] * a[4] + b[3] * b[4] - w * h);
  };
  // The surest prediction takes the labelled box of its class that it
  // overlaps most, at an IoU of at least 0.5, as COCO's AP50 does.
  function compare(image, least) {
    if (!image.seen) return null;
    const seen = image.seen.filter((box) => box[5] >= least);
    // where boxes are left out of the page nobody can say which were missed
    if (!image.truth || image.cut) return { seen: seen.map((box) => ({ box })), missed: [] };
    const free = new Set(image.truth);
    const out = seen.map((box) => {
      let best = null;
      let most = 0.5;
      for (const other of free) {
        const iou = other[0] === box[0] ? overlap(box, other) : 0;
        if (iou >= most) { best = other; most = iou; }
      }
      if (best) { free.delete(best); return { box, verdict: 'right', iou: most }; }
      return { box };
    });
    for (const entry of out) {
      if (entry.verdict) continue;
      const over = image.truth.filter((other) => overlap(other, entry.box) >= 0.5);
      const same = over.find((other) => other[0] === entry.box[0]);
      // seen, if as something else: it is not overlooked as well
      const other = over.find((o) => free.has(o)) ?? over[0];
      if (same) {
        entry.verdict = 'a second time';
      } else if (other) {
        free.delete(other);
        entry.verdict = 'wrong class';
        entry.truth = other;
      } else {
        entry.verdict = 'nothing there';
      }
    }
    return { seen: out, missed: [...free] };
  }
  const mistakes = (result) => result
    ? result.missed.length + result.seen.filter((s) => s.verdict && s.verdict !== 'right').length : 0;

  // pictures with boxes over them
  const className = (i) => data.classes[i]?.name ?? '?';
  const classColour = (i) => data.classes[i]?.colour ?? '#cccccc';
  const text = (value) => Number(value).toLocaleString('en', { maximumSignificantDigits: 4 });
  function boxes(image, least, labels) {
    const layer = document.createElementNS(SVG, 'svg');
    const tags = [];
    const [width, height] = image.size;
    layer.setAttribute('viewBox', `0 0 ${width} ${height}`);
    layer.setAttribute('preserveAspectRatio', 'none');
    const add = (box, cls) => {
      const group = document.createElementNS(SVG, 'g');
      group.setAttribute('class', cls);
      for (const part of ['under', 'over']) {
        const rect = document.createElementNS(SVG, 'rect');
        rect.setAttribute('class', part);
        ['x', 'y', 'width', 'height'].forEach((name, i) =>
          rect.setAttribute(name, i > 1 ? Math.max(0, box[i + 1]) : box[i + 1]));
        if (part === 'over') rect.style.stroke = classColour(box[0]);
        group.append(rect);
      }
      layer.append(group);
      if (!labels) return;
      const tag = make('span', 'label ' + cls,
        className(box[0]) + (box.length > 5 ? ' ' + box[5].toFixed(2) : ''));
      tag.style.background = classColour(box[0]);
      // predictions have theirs below the box, or they would hide each other
      const below = cls === 'seen' && box[2] + box[4] < height * 0.96;
      const y = below ? box[2] + box[4] : box[2];
      if (below || y < height * 0.04) tag.classList.add('low');
      tag.style.left = `${Math.max(0, box[1]) / width * 100}%`;
      tag.style.top = `${Math.max(0, y) / height * 100}%`;
      tags.push(tag);
    };
    for (const box of image.truth ?? []) add(box, 'truth');
    for (const box of image.seen ?? []) if (box[5] >= least) add(box, 'seen');
    return [layer, ...tags];
  }
  function photo(image, large, least) {
    if (!image.size) return make('span', 'none', 'no picture');
    const frame = make('div', 'photo');
    frame.style.aspectRatio = `${image.size[0]} / ${image.size[1]}`;
    const fits = () => {
      const room = frame.parentElement?.getBoundingClientRect();
      if (!room) return;
      const pad = large ? 20 : 0;
      const scale = Math.min((room.width - pad) / image.size[0], (room.height - pad) / image.size[1]);
      frame.style.width = `${Math.floor(image.size[0] * scale)}px`;
      frame.style.height = `${Math.floor(image.size[1] * scale)}px`;
    };
    frame.fits = fits;
    if (image.small) {
      const picture = make('img');
      picture.loading = 'lazy';
      picture.decoding = 'async';
      picture.alt = image.name ?? '';
      picture.src = image.small;
      frame.append(picture);
      // the image itself where the page can reach it, else the small one stays
      if (large && image.full) {
        const full = new Image();
        full.onload = () => { picture.src = full.src; };
        full.src = image.full;
      }
    }
    frame.append(...boxes(image, least, large));
    requestAnimationFrame(fits);
    return frame;
  }

  // the gallery
  const filters = $('filters');
  const PAGE = 60;
  let shown = [];
  let built = 0;
  let filled = false;
  const value = (name) => filters.elements[name].value;
  const least = () => filters ? Number(value('sure')) : 0.3;
  const roundName = (round) => round < 0 ? 'first set' : `after round ${round}`;
  function prepare() {
    if (!filters) return;
    const rounds = [...new Set(data.images.map((image) => image.round))].sort((a, b) => a - b);
    const select = filters.elements.round;
    for (const [name, label] of [['', 'after any round'], ...rounds.map((r) => [r, roundName(r)])]) {
      const option = make('option', '', label);
      option.value = name;
      select.append(option);
    }
    const used = new Set(data.images.flatMap(
      (image) => [...(image.truth ?? []), ...(image.seen ?? [])].map((box) => box[0])));
    data.classes.forEach((entry, i) => {
      if (!used.has(i)) return;
      const option = make('option', '', entry.name);
      option.value = i;
      filters.elements.class.append(option);
    });
    const how = new Set(data.images.flatMap((image) => [image.how, image.waits ? 'waits' : '']));
    for (const option of [...filters.elements.how.options]) {
      if (option.value && !how.has(option.value)) option.remove();
    }
    filters.addEventListener('input', () => { filled = false; fill(); });
    filters.addEventListener('submit', (event) => event.preventDefault());
    new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) build();
    }, { rootMargin: '800px' }).observe($('more'));
  }
  function fill() {
    if (!filters || filled) return;
    filled = true;
    const sure = least();
    filters.elements['sure-text'].value = sure.toFixed(2);
    const wanted = value('text').toLowerCase();
    const has = (image, i) =>
      (image.truth ?? []).some((box) => box[0] === i) ||
      (image.seen ?? []).some((box) => box[0] === i && box[5] >= sure);
    const within = (image) => {
      const [low, high] = [value('low'), value('high')];
      if (low === '' && high === '') return true;
      return image.score !== undefined && (low === '' || image.score >= Number(low)) &&
        (high === '' || image.score <= Number(high));
    };
    shown = data.images.filter((image) =>
      (value('round') === '' || image.round === Number(value('round'))) &&
      (value('how') === '' || image.how === value('how') || (value('how') === 'waits' && image.waits)) &&
      (value('class') === '' || has(image, Number(value('class')))) && within(image) &&
      (!wanted || `${image.name ?? ''} ${image.id}`.toLowerCase().includes(wanted)));
    const keys = {
      score: (image) => -(image.score ?? -Infinity),
      errors: (image) => -mistakes(compare(image, sure)),
      boxes: (image) => -((image.truth ?? image.seen ?? []).length),
      name: (image) => image.name ?? String(image.id),
    };
    const key = keys[value('order')];
    if (key) {
      const pairs = shown.map((image) => [key(image), image]);
      pairs.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
      shown = pairs.map((pair) => pair[1]);
    }
    $('found').textContent = `${shown.length.toLocaleString('en')} of ` +
      `${data.images.length.toLocaleString('en')} images`;
    const gallery = $('gallery');
    gallery.replaceChildren();
    gallery.classList.toggle('hide-truth', !filters.elements.truth.checked);
    gallery.classList.toggle('hide-seen', !filters.elements.seen.checked);
    built = 0;
    build();
  }
  function build() {
    if (!filled) return;
    const upTo = Math.min(shown.length, built + PAGE);
    for (; built < upTo; built++) $('gallery').append(tile(shown[built]));
  }
  function tile(image) {
    const sure = least();
    const button = make('button', 'shot');
    button.type = 'button';
    const frame = make('div', 'frame');
    frame.append(photo(image, false, sure));
    const words = make('div', 'text');
    words.append(make('b', '', image.name ?? String(image.id)));
    words.append(make('span', '', `${roundName(image.round)}, no. ${image.pick}` +
      (image.score === undefined ? '' : ` · ${text(image.score)}`)));
    const result = compare(image, sure);
    const badge = (cls, label) => words.append(make('em', 'badge ' + cls, label));
    if (image.waits) badge('', 'waits for labels');
    else if (image.how !== 'method') badge('', { random: 'at random', reselected: 'reselected', first: 'first set' }[image.how]);
    if (image.cut) {
      badge('', 'boxes left out');
    } else if (image.truth && result) {
      badge('good', `${result.seen.filter((s) => s.verdict === 'right').length} of ${image.truth.length} found`);
      if (mistakes(result)) badge('bad', `${mistakes(result)} mistake${mistakes(result) > 1 ? 's' : ''}`);
    } else if (image.truth) {
      badge('', `${image.truth.length} box${image.truth.length === 1 ? '' : 'es'}`);
    } else if (result) {
      badge('', `${result.seen.length} predicted`);
    }
    button.append(frame, words);
    button.addEventListener('click', () => enlarge(data.images.indexOf(image), shown));
    return button;
  }

  // one image, enlarged
  const dialog = $('large');
  let list = [];
  let place = 0;
  let opener = null;
  function enlarge(index, among) {
    list = among;
    place = Math.max(0, list.indexOf(data.images[index]));
    opener = document.activeElement;
    show();
    if (!dialog.open) dialog.showModal();
    $('stage').firstChild?.fits?.();
  }
  function show() {
    const image = list[place];
    const sure = least();
    $('large-name').textContent = image.name ?? String(image.id);
    $('large-place').textContent = `${place + 1} of ${list.length}`;
    $('stage').replaceChildren(photo(image, true, sure));
    $('stage').classList.toggle('hide-truth', !$('large-truth').checked);
    $('stage').classList.toggle('hide-seen', !$('large-seen').checked);
    const facts = $('facts');
    facts.replaceChildren(make('p', '', image.why));
    const table = (title, rows) => {
      if (!rows.length) return;
      const body = make('table');
      for (const row of rows) {
        const line = make('tr');
        for (const cell of row) {
          const td = make('td');
          td.append(cell);
          line.append(td);
        }
        body.append(line);
      }
      facts.append(make('h3', '', title), body);
    };
    table('Image', [['id', String(image.id)], ['chosen', `${roundName(image.round)}, no. ${image.pick}`],
      ...(image.score === undefined ? [] : [[data.scoreName, text(image.score)]]),
      ...(image.size ? [['size', `${image.size[0]} × ${image.size[1]}`]] : [])]);
    table('Parts of the score', (image.parts ?? []).map(([name, v]) => [name, text(v)]));
    const named = (i) => {
      const cell = make('span');
      const dot = make('i', 'dot');
      dot.style.background = classColour(i);
      cell.append(dot, className(i));
      return cell;
    };
    const result = compare(image, sure);
    if (result) {
      table(`Predicted, from score ${sure.toFixed(2)} on`, result.seen.map((entry) => {
        const verdict = entry.verdict === 'right' ? `right, IoU ${entry.iou.toFixed(2)}`
          : entry.verdict === 'wrong class' ? `is ${className(entry.truth[0])}` : entry.verdict ?? '';
        const cell = make('span');
        if (verdict) cell.append(make('span', 'badge ' + (entry.verdict === 'right' ? 'good' : 'bad'), verdict));
        if (entry.box[6]) cell.append(make('div', 'muted', `± ${entry.box[6].map(text).join(', ')} px`));
        return [named(entry.box[0]), entry.box[5].toFixed(2), cell];
      }));
      table('Overlooked', result.missed.map((box) => [named(box[0]), `${text(box[3])} × ${text(box[4])} px`]));
    }
    if (image.cut) {
      facts.append(make('p', 'muted', `${text(image.cut)} of its boxes are left out, or the page would be too large.`));
    }
    if (image.truth && !result) {
      table('Labelled', image.truth.map((box) => [named(box[0]), `${text(box[3])} × ${text(box[4])} px`]));
    }
    if (image.waits) facts.append(make('p', 'muted', 'Nobody has labelled it yet.'));
  }
  const step = (by) => { place = (place + by + list.length) % list.length; show(); };
  $('next').addEventListener('click', () => step(1));
  $('before').addEventListener('click', () => step(-1));
  $('close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => opener?.focus?.());
  dialog.addEventListener('keydown', (event) => {
    const key = event.key;
    if (key === 'ArrowRight') step(1);
    else if (key === 'ArrowLeft') step(-1);
    else if (key === 't' || key === 'T') $('large-truth').click();
    else if (key === 'p' || key === 'P') $('large-seen').click();
    else return;
    event.preventDefault();
  });
  for (const id of ['large-truth', 'large-seen']) $(id).addEventListener('change', show);
  addEventListener('resize', () => {
    for (const frame of document.querySelectorAll('.photo')) frame.fits?.();
  });

  for (const button of document.querySelectorAll('[data-show]')) {
    button.addEventListener('click', () => {
      filters.elements.how.value = button.dataset.show;
      filled = false;
      open($('tab-images'), true);
    });
  }
  prepare();
  open($('tab-' + location.hash.slice(1)) ?? tabs[0]);
})();
