'use strict';
(function () {
  const picture = document.getElementById('picture'), told = document.getElementById('cell');
  const data = JSON.parse(document.getElementById('cells').textContent);
  const counts = new Map(data.cells.map(([row, column, count]) => [row * data.size + column, count]));
  function show(event) {
    const box = picture.getBoundingClientRect();
    const place = (value, start, length) =>
      Math.min(data.size - 1, Math.max(0, Math.floor((value - start) / length * data.size)));
    const row = place(event.clientY, box.top, box.height), column = place(event.clientX, box.left, box.width);
    const count = counts.get(row * data.size + column) || 0;
    told.textContent = row === column ? `${data.names[row]}: ${count} right`
      : `${data.names[row]} taken for ${data.names[column]}: ${count}`;
  }
  picture.addEventListener('pointermove', show);
  picture.addEventListener('pointerdown', show);
})();
