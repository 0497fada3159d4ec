// A small map viewer without dependencies: tiles of any tile matrix set in its own coordinates, or whole WMS maps.
// The element #map carries its configuration as JSON in data-map; see preview.rs for the fields.
"use strict";

(() => {
  const element = document.getElementById("map");
  if (!element) return;
  const map = JSON.parse(element.dataset.map);
  const urlOutput = document.getElementById("url");
  const positionOutput = document.getElementById("position");
  const statusOutput = document.getElementById("status");

  // Resolutions, the coarsest first; of a WMS any will do, so these are made up from its box.
  const resolutions = map.levels ? map.levels.map((level) => level.resolution) : wmsResolutions();
  const [minX, minY, maxX, maxY] = map.bbox;
  const view = { x: (map.focus[0] + map.focus[2]) / 2, y: (map.focus[1] + map.focus[3]) / 2, level: 0 };

  function wmsResolutions() {
    const [x0, y0, x1, y1] = map.focus;
    const first = Math.max((x1 - x0) / 256, (y1 - y0) / 256) || 1;
    return Array.from({ length: 24 }, (_, level) => first / 2 ** level);
  }

  const width = () => element.clientWidth;
  const height = () => element.clientHeight;
  const resolution = () => resolutions[view.level];

  // The finest level on which the layer's box fits into the viewer.
  function fit() {
    const [x0, y0, x1, y1] = map.focus;
    const wanted = Math.max((x1 - x0) / width(), (y1 - y0) / height());
    view.level = 0;
    resolutions.forEach((res, level) => {
      if (res >= wanted * 0.99) view.level = level;
    });
    view.x = (x0 + x1) / 2;
    view.y = (y0 + y1) / 2;
  }

  const absolute = (path) => new URL(path, document.baseURI).href;

  // ---------------------------------------------------------------- tiles

  const tiles = new Map();
  let failures = 0;

  function tileUrl(level, column, row) {
    const matrix = map.levels[level];
    const shownRow = map.rows_from_south ? matrix.rows - 1 - row : row;
    return absolute(map.url.replace("{z}", matrix.id).replace("{x}", column).replace("{y}", shownRow));
  }

  function drawTiles() {
    const matrix = map.levels[view.level];
    const spanX = matrix.resolution * map.tile_size[0];
    const spanY = matrix.resolution * map.tile_size[1];
    const left = view.x - (width() / 2) * matrix.resolution;
    const top = view.y + (height() / 2) * matrix.resolution;
    const firstColumn = Math.max(0, Math.floor((left - matrix.left) / spanX));
    const firstRow = Math.max(0, Math.floor((matrix.top - top) / spanY));
    const lastColumn = Math.min(matrix.columns - 1, Math.floor((left + width() * matrix.resolution - matrix.left) / spanX));
    const lastRow = Math.min(matrix.rows - 1, Math.floor((matrix.top - top + height() * matrix.resolution) / spanY));
    const wanted = new Set();
    for (let row = firstRow; row <= lastRow; row++) {
      for (let column = firstColumn; column <= lastColumn; column++) {
        const url = tileUrl(view.level, column, row);
        wanted.add(url);
        let image = tiles.get(url);
        if (!image) {
          image = picture(url);
          image.width = map.tile_size[0];
          image.height = map.tile_size[1];
          tiles.set(url, image);
          element.append(image);
        }
        const x = Math.round((matrix.left + column * spanX - left) / matrix.resolution);
        const y = Math.round((top - (matrix.top - row * spanY)) / matrix.resolution);
        image.style.transform = `translate(${x}px, ${y}px)`;
      }
    }
    for (const [url, image] of tiles) {
      if (!wanted.has(url)) {
        image.removeAttribute("src");
        image.remove();
        tiles.delete(url);
      }
    }
    const column = Math.floor((view.x - matrix.left) / spanX);
    const row = Math.floor((matrix.top - view.y) / spanY);
    const inside = column >= 0 && row >= 0 && column < matrix.columns && row < matrix.rows;
    show(inside ? tileUrl(view.level, column, row) : "");
  }

  function picture(url) {
    const image = new Image();
    image.alt = "";
    image.draggable = false;
    image.className = "loading";
    image.addEventListener("load", () => {
      image.className = "loaded";
      report();
    });
    image.addEventListener("error", () => {
      if (!image.src) return;
      image.className = "failed";
      failures += 1;
      report();
    });
    image.src = url;
    return image;
  }

  // ---------------------------------------------------------------- whole maps

  let shown = null;
  let pending = 0;

  function drawMap() {
    place(shown);
    clearTimeout(pending);
    pending = setTimeout(requestMap, shown ? 150 : 0);
  }

  function requestMap() {
    const res = resolution();
    const size = [width(), height()];
    const box = [view.x - (size[0] / 2) * res, view.y - (size[1] / 2) * res, view.x + (size[0] / 2) * res, view.y + (size[1] / 2) * res];
    const url = absolute(map.url.replace("{bbox}", box.join(",")).replace("{width}", size[0]).replace("{height}", size[1]));
    show(url);
    const image = picture(url);
    const next = { image, left: box[0], top: box[3], resolution: res };
    image.addEventListener("load", () => {
      if (shown) shown.image.remove();
      shown = next;
      place(shown);
    });
    element.append(image);
    place(next);
  }

  // Moves and scales a map that was drawn for another view.
  function place(drawn) {
    if (!drawn) return;
    const left = view.x - (width() / 2) * resolution();
    const top = view.y + (height() / 2) * resolution();
    const x = (drawn.left - left) / resolution();
    const y = (top - drawn.top) / resolution();
    const scale = drawn.resolution / resolution();
    drawn.image.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  }

  // ---------------------------------------------------------------- both

  function show(url) {
    urlOutput.textContent = url;
    urlOutput.href = url || "#";
    report();
  }

  function report() {
    const digits = Math.max(0, Math.ceil(-Math.log10(resolution())) + 1);
    const level = map.levels ? `level ${map.levels[view.level].id}, ` : "";
    positionOutput.textContent = `${view.x.toFixed(digits)}, ${view.y.toFixed(digits)} (${map.srs}), ${level}${resolution()} per pixel`;
    const loading = element.querySelectorAll("img.loading").length;
    const state = loading ? `${loading} loading` : "complete";
    statusOutput.textContent = failures ? `${state}, ${failures} failed` : state;
    element.dataset.state = loading ? "loading" : "complete";
  }

  function draw() {
    view.x = Math.min(Math.max(view.x, minX), maxX);
    view.y = Math.min(Math.max(view.y, minY), maxY);
    if (map.levels) drawTiles();
    else drawMap();
  }

  // Zooms so that the point under the pointer stays where it is.
  function zoom(steps, pointX = width() / 2, pointY = height() / 2) {
    const level = Math.min(Math.max(view.level + steps, 0), resolutions.length - 1);
    const change = resolution() - resolutions[level];
    view.x += (pointX - width() / 2) * change;
    view.y -= (pointY - height() / 2) * change;
    view.level = level;
    draw();
  }

  function pan(pixelsX, pixelsY) {
    view.x -= pixelsX * resolution();
    view.y += pixelsY * resolution();
    draw();
  }

  const pointers = new Map();
  let pinch = 0;

  const spread = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  };

  element.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button")) return;
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 2) pinch = spread();
  });
  element.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 1) {
      pan(event.clientX - last.x, event.clientY - last.y);
    } else if (pointers.size === 2) {
      const now = spread();
      if (now > pinch * 1.6 || now < pinch / 1.6) {
        zoom(now > pinch ? 1 : -1);
        pinch = now;
      }
    }
  });
  for (const end of ["pointerup", "pointercancel"]) {
    element.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }

  let wheeled = 0;
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    wheeled += event.deltaY * (event.deltaMode === 1 ? 30 : 1);
    if (Math.abs(wheeled) < 60) return;
    const box = element.getBoundingClientRect();
    zoom(wheeled > 0 ? -1 : 1, event.clientX - box.left, event.clientY - box.top);
    wheeled = 0;
  }, { passive: false });
  element.addEventListener("dblclick", (event) => {
    if (event.target.closest("button")) return;
    const box = element.getBoundingClientRect();
    zoom(event.shiftKey ? -1 : 1, event.clientX - box.left, event.clientY - box.top);
  });
  element.addEventListener("keydown", (event) => {
    const actions = {
      ArrowLeft: () => pan(100, 0),
      ArrowRight: () => pan(-100, 0),
      ArrowUp: () => pan(0, 100),
      ArrowDown: () => pan(0, -100),
      "+": () => zoom(1),
      "=": () => zoom(1),
      "-": () => zoom(-1),
      Home: () => { fit(); draw(); },
    };
    if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
  });
  document.getElementById("zoom-in").addEventListener("click", () => zoom(1));
  document.getElementById("zoom-out").addEventListener("click", () => zoom(-1));
  document.getElementById("zoom-fit").addEventListener("click", () => { fit(); draw(); });
  document.getElementById("copy").addEventListener("click", () => navigator.clipboard.writeText(urlOutput.href));
  for (const select of document.querySelectorAll("form.choices select")) {
    select.addEventListener("change", () => select.form.submit());
  }
  new ResizeObserver(draw).observe(element);

  fit();
  draw();
})();
