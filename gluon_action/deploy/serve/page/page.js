'use strict';
// One page: a video is sent as the body of a request, and played from this browser's own copy. Names of classes are
// put in as text, never as HTML.

const $ = id => document.getElementById(id);
const video = $('video');
const COLORS = 6;
let request = null, address = null, answer = null, limits = {}, poll = null, startedAt = 0;

function element(tag, text = '', kind = '') {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function clock(seconds) {
  const tenths = Math.round(10 * seconds), rest = (tenths % 600) / 10, minutes = Math.floor(tenths / 600);
  const two = number => String(number).padStart(2, '0');
  const end = rest.toFixed(1).padStart(4, '0');
  return minutes < 60 ? `${minutes}:${end}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${end}`;
}

function say(text, bad = false) {
  $('message').textContent = text.charAt(0).toUpperCase() + text.slice(1);
  $('message').className = bad ? 'bad' : '';
  $('message').hidden = !text;
}

function progress(share) {
  $('bar').hidden = share === null;
  $('bar').className = share === true ? 'busy' : '';
  $('done').style.width = typeof share === 'number' ? `${100 * share}%` : '';
}

function stop() {
  if (request) request.abort();
  request = null;
  clearInterval(poll);
}

function send(file) {
  stop();
  $('result').hidden = true;
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  $('unplayable').hidden = true;
  video.hidden = false;
  video.src = address;
  if (limits.max_mb && file.size > 1e6 * limits.max_mb) {
    say(`${file.name} has ${(file.size / 1e6).toFixed(0)} MB, and ${limits.max_mb} MB are allowed.`, true);
    progress(null);
    return;
  }
  const mine = request = new XMLHttpRequest();
  mine.open('POST', 'api/predict');
  mine.setRequestHeader('Content-Type', 'application/octet-stream');
  mine.responseType = 'json';
  mine.upload.onprogress = event => { if (event.lengthComputable) progress(event.loaded / event.total); };
  mine.upload.onload = () => {
    progress(true);
    startedAt = Date.now();
    wait();
    poll = setInterval(wait, 1000);
  };
  mine.onload = () => {
    finish();
    if (mine.status === 200) show(mine.response, file.name);
    else say((mine.response && mine.response.error) || `The server answered ${mine.status}.`, true);
  };
  mine.onerror = () => {
    finish();
    say('The server does not answer, or it refused the video while it was sent. Is it still running?', true);
  };
  say(`Sending ${file.name}`);
  progress(0);
  mine.send(file);
}

function finish() {
  clearInterval(poll);
  request = null;
  progress(null);
  say('');
}

function wait() {
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  fetch('api/status').then(found => found.json()).then(state => {
    if (!request) return;
    const others = state.running + state.waiting - 1;
    say(`Looking at it (${seconds} s)` + (others > 0 ? `; ${others} other video${others > 1 ? 's' : ''} at the server` : ''));
  }).catch(() => {});
}

function colorOf(label) {
  const known = answer.colors;
  if (!known.has(label)) known.set(label, known.size % COLORS);
  return `c${known.get(label)}`;
}

function play(seconds) {
  if (video.error || video.hidden) return;
  video.currentTime = seconds;
  video.play().catch(() => {});
}

function show(found, name) {
  answer = found;
  answer.colors = new Map();
  found.top.forEach(top => colorOf(top.label));
  $('result').hidden = false;
  document.title = `${name}: ${found.label}`;
  const said = found.found.length ? found.found.join(', ') : found.label;
  $('label').textContent = `${said} (${found.found.length ? '' : 'at most '}${found.score.toFixed(2)})`;
  const rows = found.top.map(top => {
    const row = element('tr'), cell = element('td'), meter = element('span', '', 'meter'), fill = element('i');
    fill.style.width = `${100 * top.probability}%`;
    fill.className = colorOf(top.label);
    meter.append(fill);
    cell.append(element('span', top.label, 'name'), meter);
    row.append(cell, element('td', top.probability.toFixed(2), 'score'));
    return row;
  });
  $('top').tBodies[0].replaceChildren(...rows);
  timeline();
  const notes = found.skipped.slice(0, 5).map(gap =>
    `Frames ${gap.first} to ${gap.last} (${clock(gap.start)} to ${clock(gap.end)}) could not be read: ${gap.cause}`);
  notes.push(`${found.windows.length} windows of ${found.model.span} frames, in ${found.seconds} s`);
  $('notes').textContent = notes.join('\n');
}

function timeline() {
  const length = Math.max(answer.duration, 1e-3), share = seconds => 100 * Math.min(1, seconds / length);
  const parts = answer.segments.map(segment => {
    const part = element('button', segment.label, colorOf(segment.label));
    part.type = 'button';
    part.title = `${segment.label}: ${clock(segment.start)} to ${clock(segment.end)} (${segment.score.toFixed(2)})`;
    part.style.left = `${share(segment.start)}%`;
    part.style.width = `${share(segment.end) - share(segment.start)}%`;
    part.onclick = () => play(segment.start);
    return part;
  });
  lanes(parts);
  $('track').replaceChildren($('head'), ...parts);
  const middles = answer.windows.map(window => 1000 * Math.min(1, (window.start + window.end) / 2 / length));
  $('curves').replaceChildren(...answer.curves.map(curve => {
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    const heights = curve.probabilities.map(value => 98 - 96 * value);
    const points = middles.map((x, number) => `${x.toFixed(1)},${heights[number].toFixed(1)}`);
    if (points.length === 1) points.unshift(`0,${heights[0].toFixed(1)}`), points.push(`1000,${heights[0].toFixed(1)}`);
    line.setAttribute('points', points.join(' '));
    line.setAttribute('class', colorOf(curve.label));
    return line;
  }));
  $('axis').replaceChildren(...[0, .25, .5, .75, 1].map(place => element('span', clock(place * length))));
  const shown = [...new Set([...answer.curves.map(curve => curve.label), ...answer.segments.map(segment => segment.label)])];
  $('legend').replaceChildren(...shown.map(label => {
    const item = element('li');
    item.append(element('i', '', colorOf(label)), document.createTextNode(label));
    return item;
  }));
  $('segments').replaceChildren(...(answer.segments.length ? answer.segments : []).map(segment => {
    const item = element('li'), button = element('button');
    button.type = 'button';
    button.append(element('span', `${clock(segment.start)} - ${clock(segment.end)}`), element('span', segment.label),
                  element('span', segment.score.toFixed(2)));
    button.onclick = () => play(segment.start);
    item.append(button);
    return item;
  }));
  if (!answer.segments.length) $('segments').append(element('li', 'none of these, at any moment', 'quiet'));
  move();
}

// Several labels at one moment lie below each other.
function lanes(parts) {
  const ends = [];
  const lane = answer.segments.map(segment => {
    let place = ends.findIndex(end => end <= segment.start + 1e-6);
    if (place < 0) place = ends.push(0) - 1;
    ends[place] = segment.end;
    return place;
  });
  const count = Math.max(1, ends.length);
  $('track').style.height = `${Math.max(2.75, 1.75 * count)}rem`;
  parts.forEach((part, number) => {
    part.style.height = `${100 / count}%`;
    part.style.top = `${100 * lane[number] / count}%`;
  });
}

function move() {
  if (!answer) return;
  const now = video.currentTime || 0;
  $('head').style.left = `${100 * Math.min(1, now / Math.max(answer.duration, 1e-3))}%`;
  [...$('segments').children].forEach((item, number) => {
    const segment = answer.segments[number];
    item.className = segment && segment.start <= now && now < segment.end ? 'now' : '';
  });
}

video.addEventListener('timeupdate', move);
video.addEventListener('seeking', move);
video.addEventListener('error', () => {
  if (!video.getAttribute('src')) return;
  video.hidden = true;
  $('unplayable').hidden = false;
});
$('file').addEventListener('change', event => {
  if (event.target.files.length) send(event.target.files[0]);
  event.target.value = '';
});
for (const kind of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(kind, event => {
    event.preventDefault();
    $('drop').classList.toggle('over', kind === 'dragover');
    if (kind === 'drop' && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
}

fetch('api/model').then(found => found.json()).then(about => {
  limits = about;
  const count = about.labels ? `${about.labels.length} classes` : 'classes by their numbers';
  const least = about.threshold === null ? '' : `, threshold ${about.threshold}`;
  $('model').textContent = `${about.model}: ${count}${least}`;
  $('limits').textContent = `At most ${about.max_mb} MB.`;
}).catch(() => say('The server does not answer.', true));
