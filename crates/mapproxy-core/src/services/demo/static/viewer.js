// A map viewer without dependencies: tiles of any tile matrix set in its own coordinates, or whole maps of a WMS.
// The element #map carries its configuration as JSON in data-map; see viewer.rs for the fields.
"use strict";

(() => {
  const element = document.getElementById("map");
  if (!element) return;
  const map = JSON.parse(element.dataset.map);
  const byId = (id) => document.getElementById(id);
  const absolute = (path) => new URL(path, document.baseURI).href;
  const between = (value, low, high) => Math.min(Math.max(value, low), high);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

  // Pixels of the screen in one of the page; more than three cannot be told apart.
  const density = () => between(devicePixelRatio || 1, 1, 3);
  const width = () => element.clientWidth;
  const height = () => element.clientHeight;

  // The centre, and how many units a pixel of the page has.
  const view = { x: 0, y: 0, resolution: 1 };

  // ---------------------------------------------------------------- resolutions

  // Where a level's pixels are those of the screen; of a WMS any resolution will do.
  const stops = () => (map.levels ?? []).map((level) => level.resolution * density());
  const fitting = ([x0, y0, x1, y1]) => Math.max((x1 - x0) / width(), (y1 - y0) / height()) || 1;
  const coarsest = () => Math.max(fitting(map.extent) * 2, ...stops());
  const finest = () => (map.levels ? Math.min(...stops()) : fitting(map.extent) / 2 ** 22);

  // The next stop from here; `direction` above 0 goes into the map.
  function stopFrom(resolution, direction) {
    const all = stops();
    if (!all.length) return between(resolution / 2 ** direction, finest(), coarsest());
    const inwards = all.filter((stop) => stop < resolution * 0.999);
    const outwards = all.filter((stop) => stop > resolution * 1.001);
    if (direction > 0) return inwards.length ? Math.max(...inwards) : Math.min(...all);
    return outwards.length ? Math.min(...outwards) : Math.max(...all);
  }

  const nearestStop = (resolution) =>
    stops().reduce((best, stop) => (off(stop, resolution) < off(best, resolution) ? stop : best), Infinity);
  const off = (one, other) => (one === Infinity ? Infinity : Math.abs(Math.log(one / other)));

  function fit(box) {
    const wanted = fitting(box);
    const wide = stops().filter((stop) => stop >= wanted * 0.99);
    target.resolution = map.levels ? (wide.length ? Math.min(...wide) : Math.max(...stops())) : wanted * 1.02;
    target.x = (box[0] + box[2]) / 2;
    target.y = (box[1] + box[3]) / 2;
  }

  // ---------------------------------------------------------------- tiles

  // Tiles of one pyramid, drawn into an element of their own.
  class Tiles {
    constructor({ levels, size, urlOf, onChange, onFailure }) {
      Object.assign(this, { levels, size, urlOf, onChange, onFailure, tiles: new Map() });
      this.element = document.createElement("div");
      this.element.className = "layer";
    }

    levelFor(resolution) {
      let best = 0;
      this.levels.forEach((level, index) => {
        if (off(level.resolution, resolution) < off(this.levels[best].resolution, resolution)) best = index;
      });
      return best;
    }

    // Column and row of the tile at a place, and the pixel in it.
    place(index, x, y) {
      const level = this.levels[index];
      const column = (x - level.left) / (level.resolution * this.size[0]);
      const row = (level.top - y) / (level.resolution * this.size[1]);
      const inside = column >= 0 && row >= 0 && column < level.columns && row < level.rows;
      const pixel = (value, size) => Math.floor((value - Math.floor(value)) * size);
      const [i, j] = [pixel(column, this.size[0]), pixel(row, this.size[1])];
      return { index, column: Math.floor(column), row: Math.floor(row), i, j, inside };
    }

    draw(view) {
      const index = this.levelFor(view.resolution / density());
      const level = this.levels[index];
      const left = view.x - (width() / 2) * view.resolution;
      const top = view.y + (height() / 2) * view.resolution;
      const first = this.place(index, left, top);
      const last = this.place(index, left + width() * view.resolution, top - height() * view.resolution);
      const wanted = new Set();
      for (let row = Math.max(first.row, 0); row <= Math.min(last.row, level.rows - 1); row++) {
        for (let column = Math.max(first.column, 0); column <= Math.min(last.column, level.columns - 1); column++) {
          const key = `${index}/${column}/${row}`;
          wanted.add(key);
          if (!this.tiles.has(key)) this.tiles.set(key, this.tile(index, column, row));
        }
      }
      // What was there before stays until everything is.
      const complete = [...wanted].every((key) => !this.tiles.get(key).loading);
      for (const [key, tile] of this.tiles) {
        if (!wanted.has(key) && (complete || tile.loading || tile.failed || tile.index === index)) {
          tile.image.removeAttribute("src");
          tile.element.remove();
          this.tiles.delete(key);
          continue;
        }
        const its = this.levels[tile.index];
        const [spanX, spanY] = [its.resolution * this.size[0], its.resolution * this.size[1]];
        // Edges on whole pixels, so that no gap is seen between neighbours.
        const snap = (value) => Math.round(value * density()) / density();
        const x0 = snap((its.left + tile.column * spanX - left) / view.resolution);
        const x1 = snap((its.left + (tile.column + 1) * spanX - left) / view.resolution);
        const y0 = snap((top - its.top + tile.row * spanY) / view.resolution);
        const y1 = snap((top - its.top + (tile.row + 1) * spanY) / view.resolution);
        const style = tile.element.style;
        style.width = `${x1 - x0}px`;
        style.height = `${y1 - y0}px`;
        style.transform = `translate(${x0}px, ${y0}px)`;
        style.zIndex = tile.index === index ? 1 : 0;
      }
      this.index = index;
    }

    tile(index, column, row) {
      const url = this.urlOf(index, column, row);
      const tile = { index, column, row, loading: true, failed: false };
      tile.element = document.createElement("div");
      tile.element.className = "tile loading";
      tile.element.dataset.label = `${this.levels[index].id} / ${column} / ${row}`;
      tile.image = picture(url, (failed) => {
        tile.loading = false;
        tile.failed = failed;
        tile.element.className = failed ? "tile failed" : "tile";
        if (failed) this.onFailure(url);
        this.onChange();
      });
      tile.element.append(tile.image);
      this.element.append(tile.element);
      return tile;
    }

    get loading() {
      return [...this.tiles.values()].filter((tile) => tile.loading).length;
    }
  }

  function picture(url, done) {
    const image = new Image();
    image.alt = "";
    image.draggable = false;
    image.addEventListener("load", () => done(false));
    image.addEventListener("error", () => image.hasAttribute("src") && done(true));
    image.src = url;
    return image;
  }

  // ---------------------------------------------------------------- whole maps

  class Maps {
    constructor({ onChange, onFailure }) {
      Object.assign(this, { onChange, onFailure, shown: null, next: null, timer: 0, asked: "" });
      this.element = document.createElement("div");
      this.element.className = "layer";
    }

    draw() {
      for (const drawn of [this.shown, this.next]) this.place(drawn);
      // What failed is not asked for again and again.
      if (this.request().url === this.asked) return;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.ask(), this.shown ? 180 : 0);
    }

    request() {
      const [w, h] = [width(), height()];
      const { x, y, resolution } = target;
      const box = [x - (w / 2) * resolution, y - (h / 2) * resolution, x + (w / 2) * resolution, y + (h / 2) * resolution];
      const sharp = Math.min(density(), 4096 / w, 4096 / h);
      const size = [Math.round(w * sharp), Math.round(h * sharp)];
      return { url: fill(map.url, box, size), box, size, resolution };
    }

    ask() {
      this.timer = 0;
      const wanted = this.request();
      this.asked = wanted.url;
      this.next?.image.removeAttribute("src");
      this.next?.image.remove();
      const next = { ...wanted, loading: true };
      next.image = picture(wanted.url, (failed) => {
        if (this.next !== next) return;
        this.next = null;
        if (failed) {
          next.image.remove();
          this.onFailure(wanted.url);
        } else {
          this.shown?.image.remove();
          this.shown = next;
          next.image.className = "drawn";
        }
        this.onChange();
      });
      next.image.className = "drawn loading";
      this.next = next;
      this.element.append(next.image);
      this.place(next);
      this.onChange();
    }

    // Moves and scales a map that was drawn for another view.
    place(drawn) {
      if (!drawn) return;
      const x = (drawn.box[0] - view.x) / view.resolution + width() / 2;
      const y = (view.y - drawn.box[3]) / view.resolution + height() / 2;
      const [w, h] = [(drawn.box[2] - drawn.box[0]) / view.resolution, (drawn.box[3] - drawn.box[1]) / view.resolution];
      drawn.image.style.width = `${w}px`;
      drawn.image.style.height = `${h}px`;
      drawn.image.style.transform = `translate(${x}px, ${y}px)`;
    }

    get loading() {
      return this.next || this.timer ? 1 : 0;
    }
  }

  function fill(template, box, size, rest = (url) => url) {
    // Numbers a reader can bear: a thousandth of a pixel is enough.
    const digits = between(Math.ceil(-Math.log10((box[2] - box[0]) / size[0])) + 3, 0, 15);
    const [x0, y0, x1, y1] = box.map((value) => String(Number(value.toFixed(digits))));
    const bbox = map.north_first ? [y0, x0, y1, x1] : [x0, y0, x1, y1];
    const url = template.replace("{bbox}", bbox.join(",")).replace("{width}", size[0]).replace("{height}", size[1]);
    return absolute(rest(url));
  }

  function tileUrl(template, index, column, row, rest = (url) => url) {
    const level = map.levels[index];
    const shownRow = map.rows_from_south ? level.rows - 1 - row : row;
    return absolute(rest(template.replace("{z}", level.id).replace("{x}", column).replace("{y}", shownRow)));
  }

  // ---------------------------------------------------------------- what went wrong

  const message = byId("message");
  let failures = 0;
  let explained = "";

  message.querySelector("button").addEventListener("click", () => (message.hidden = true));

  function tell(text) {
    message.querySelector("p").textContent = text;
    message.hidden = false;
  }

  // Pictures do not say why they failed: asks again for the words. Once is enough for all tiles of a view.
  async function explain(url) {
    failures += 1;
    const about = `${view.x} ${view.y} ${view.resolution}`;
    if (explained === about) return;
    explained = about;
    try {
      const answer = await fetch(url);
      const type = answer.headers.get("Content-Type") ?? "";
      if (answer.ok && type.startsWith("image/")) return;
      tell(`${answer.status} ${answer.statusText}: ${reason(await answer.text(), type)}`);
    } catch {
      tell("The server cannot be reached.");
    }
  }

  function reason(text, type) {
    let found = text;
    if (/xml/.test(type)) {
      const parsed = new DOMParser().parseFromString(text, "text/xml");
      const names = ["ServiceException", "ExceptionText", "WMTException"];
      const node = names.map((name) => parsed.getElementsByTagNameNS("*", name)[0]).find(Boolean);
      found = node?.textContent ?? text;
    } else if (/json/.test(type)) {
      try {
        const parsed = JSON.parse(text);
        found = parsed.detail ?? parsed.description ?? parsed.title ?? text;
      } catch {
        // As it is.
      }
    } else if (/html/.test(type)) {
      found = new DOMParser().parseFromString(text, "text/html").body.textContent;
    }
    return String(found).trim().slice(0, 600) || "no reason given";
  }

  // ---------------------------------------------------------------- layers

  const onChange = () => schedule();
  const layers = [];
  let background = null;
  if (map.background) {
    const half = 20037508.342789244;
    const levels = Array.from({ length: 20 }, (_, z) => {
      const count = 2 ** z;
      return { id: z, resolution: (2 * half) / 256 / count, columns: count, rows: count, left: -half, top: half };
    });
    const urlOf = (z, x, y) => map.background.replace("{z}", z).replace("{x}", x).replace("{y}", y);
    background = new Tiles({ levels, size: [256, 256], urlOf, onChange, onFailure: () => {} });
    layers.push(background);
    element.append(background.element);
  }
  const layer = map.levels
    ? new Tiles({
        levels: map.levels,
        size: map.tile_size,
        urlOf: (index, column, row) => tileUrl(map.url, index, column, row),
        onChange,
        onFailure: explain,
      })
    : new Maps({ onChange, onFailure: explain });
  layers.push(layer);
  element.append(layer.element);

  // ---------------------------------------------------------------- drawing

  const target = { x: 0, y: 0, resolution: 1 };
  let motion = null;
  let wheeling = 0;
  let frame = 0;

  const schedule = () => (frame ||= requestAnimationFrame(draw));

  function keepInside(place) {
    place.resolution = between(place.resolution, finest(), coarsest());
    place.x = between(place.x, map.bbox[0], map.bbox[2]);
    place.y = between(place.y, map.bbox[1], map.bbox[3]);
  }

  // Goes to the target, at once or in a moment.
  function go(smoothly) {
    keepInside(target);
    if (smoothly && !calm) {
      motion = { from: { ...view }, start: performance.now(), length: 180 };
    } else {
      motion = null;
      Object.assign(view, target);
    }
    schedule();
  }

  function draw(now) {
    frame = 0;
    if (motion) {
      const part = between((now - motion.start) / motion.length, 0, 1);
      const eased = 1 - (1 - part) ** 3;
      // While the resolution changes, the point that stays in its place is the same all the time.
      const resolution = motion.from.resolution * (target.resolution / motion.from.resolution) ** eased;
      const whole = target.resolution - motion.from.resolution;
      const done = Math.abs(whole) > 1e-12 * target.resolution ? (resolution - motion.from.resolution) / whole : eased;
      view.x = motion.from.x + (target.x - motion.from.x) * done;
      view.y = motion.from.y + (target.y - motion.from.y) * done;
      view.resolution = resolution;
      if (part >= 1) {
        motion = null;
        Object.assign(view, target);
      }
    }
    for (const one of layers) one.draw(view);
    placeMarker();
    report();
    if (motion) schedule();
  }

  function report() {
    const digits = between(Math.ceil(-Math.log10(view.resolution)) + 1, 0, 12);
    const level = map.levels ? `level ${map.levels[layer.index].id} · ` : "";
    const resolution = Number(view.resolution.toPrecision(6));
    byId("position").textContent = `${view.x.toFixed(digits)}, ${view.y.toFixed(digits)} · ${level}${resolution} ${unit()}/pixel`;
    const loading = layers.reduce((sum, one) => sum + one.loading, 0);
    const state = loading ? `${loading} loading` : "complete";
    const told = failures ? `${state}, ${failures} failed` : state;
    if (byId("status").textContent !== told) byId("status").textContent = told;
    element.dataset.state = loading || motion || wheeling ? "loading" : "complete";
    if (map.levels) {
      const centre = layer.place(layer.index, view.x, view.y);
      showUrl(centre.inside ? tileUrl(map.url, centre.index, centre.column, centre.row) : "");
    } else {
      showUrl(layer.asked);
    }
    drawScale();
    remember();
  }

  const unit = () => (map.is_geographic ? "°" : "m");

  function showUrl(url) {
    const link = byId("url");
    if (link.dataset.url === url) return;
    link.dataset.url = url;
    link.textContent = url || (map.levels ? "outside of the tiles" : "");
    link.href = url || "#";
  }

  function drawScale() {
    const latitude = map.is_geographic ? Math.cos((between(view.y, -89, 89) * Math.PI) / 180) : mercatorFactor();
    const perPixel = view.resolution * map.meters_per_unit * latitude;
    const longest = perPixel * 160;
    const power = 10 ** Math.floor(Math.log10(longest));
    const length = [5, 2, 1].map((step) => step * power).find((step) => step <= longest) ?? power;
    const bar = byId("scale").firstElementChild;
    bar.textContent = length >= 1000 ? `${length / 1000} km` : `${Number(length.toPrecision(3))} m`;
    bar.style.width = `${length / perPixel}px`;
  }

  // The web mercator is the one projection here whose scale changes much.
  function mercatorFactor() {
    if (!/^EPSG:(3857|900913|102100|102113)$/.test(map.srs)) return 1;
    return 1 / Math.cosh(view.y / 6378137);
  }

  // ---------------------------------------------------------------- the view in addresses

  let rememberer = 0;
  let moved = false;

  function remember() {
    clearTimeout(rememberer);
    if (moved && !motion) rememberer = setTimeout(() => history.replaceState(null, "", withView(location.href)), 400);
  }

  // The address of a page of this layer that shows what is seen now.
  function withView(address) {
    const url = new URL(address, document.baseURI);
    // The other page may have another shape: the square in the middle is seen on all.
    const half = (Math.min(width(), height()) / 2) * view.resolution;
    const digits = between(Math.ceil(-Math.log10(view.resolution)) + 1, 0, 12);
    const box = [view.x - half, view.y - half, view.x + half, view.y + half];
    url.searchParams.set("at", box.map((value) => Number(value.toFixed(digits))).join(","));
    url.searchParams.set("at_srs", map.srs);
    return url.href;
  }

  for (const link of document.querySelectorAll("a[data-keeps-view]")) {
    link.addEventListener("click", () => moved && (link.href = withView(link.href)));
  }
  const form = document.querySelector("form.choices");
  form.addEventListener("submit", () => {
    if (!moved) return;
    const params = new URL(withView(location.href)).searchParams;
    for (const name of ["at", "at_srs"]) {
      const field = Object.assign(document.createElement("input"), { type: "hidden", name, value: params.get(name) });
      form.append(field);
    }
  });

  // ---------------------------------------------------------------- moving

  function zoom(resolution, pointX, pointY, smoothly) {
    const before = { ...target };
    target.resolution = between(resolution, finest(), coarsest());
    const change = before.resolution - target.resolution;
    target.x += (pointX - width() / 2) * change;
    target.y -= (pointY - height() / 2) * change;
    moved = true;
    go(smoothly);
  }

  const step = (direction, x = width() / 2, y = height() / 2) => zoom(stopFrom(target.resolution, direction), x, y, true);

  function pan(pixelsX, pixelsY, smoothly) {
    target.x -= pixelsX * target.resolution;
    target.y += pixelsY * target.resolution;
    moved = true;
    go(smoothly);
  }

  function showAll() {
    fit(map.extent);
    moved = true;
    go(true);
  }

  const pointers = new Map();
  let press = null;

  const middle = () => {
    const all = [...pointers.values()];
    const sum = all.reduce((a, b) => ({ x: a.x + b.x / all.length, y: a.y + b.y / all.length }), { x: 0, y: 0 });
    const spread = all.length > 1 ? Math.hypot(all[0].x - all[1].x, all[0].y - all[1].y) : 0;
    return { ...sum, spread };
  };
  const inMap = (event) => {
    const box = element.getBoundingClientRect();
    return { x: event.clientX - box.left - element.clientLeft, y: event.clientY - box.top - element.clientTop };
  };

  element.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button") || event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, inMap(event));
    press = pointers.size === 1 ? { ...inMap(event), time: event.timeStamp } : null;
    if (motion) {
      Object.assign(target, view);
      motion = null;
    }
  });
  element.addEventListener("pointermove", (event) => {
    if (!pointers.size) pointAt(inMap(event));
    if (!pointers.has(event.pointerId)) return;
    const before = middle();
    pointers.set(event.pointerId, inMap(event));
    const now = middle();
    if (press && Math.hypot(now.x - press.x, now.y - press.y) < 5) return;
    if (press) before.x = press.x, before.y = press.y;
    press = null;
    element.classList.add("dragging");
    pan(now.x - before.x, now.y - before.y, false);
    if (before.spread && now.spread) zoom((target.resolution * before.spread) / now.spread, now.x, now.y, false);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    element.addEventListener(end, (event) => {
      if (!pointers.delete(event.pointerId)) return;
      if (end === "pointerup" && press && event.timeStamp - press.time < 700) clicked(press);
      press = null;
      if (!pointers.size) {
        element.classList.remove("dragging");
        settle();
      }
    });
  }
  element.addEventListener("pointerleave", () => (byId("pointer").textContent = ""));

  // After free zooming: the nearest level, whose pixels are sharp.
  function settle(x = width() / 2, y = height() / 2) {
    const stop = nearestStop(target.resolution);
    if (stop !== Infinity && off(stop, target.resolution) > 1e-9) zoom(stop, x, y, true);
  }

  let wheeled = { start: 0, direction: 0 };
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = inMap(event);
    const pixels = event.deltaY * [1, 30, 300][event.deltaMode];
    if (!wheeling) wheeled = { start: target.resolution, direction: 0 };
    wheeled.direction = pixels < 0 ? 1 : -1;
    // One notch of a mouse is about a level; a pinch on a touchpad comes as small steps with Ctrl.
    zoom(target.resolution * 2 ** (between(pixels, -240, 240) / (event.ctrlKey ? 40 : 120)), x, y, Math.abs(pixels) > 50);
    clearTimeout(wheeling);
    wheeling = setTimeout(() => {
      wheeling = 0;
      if (!map.levels) return schedule();
      // At least one level in the direction of the wheel.
      const near = nearestStop(target.resolution);
      const turned = wheeled.direction > 0 ? near < wheeled.start * 0.999 : near > wheeled.start * 1.001;
      zoom(turned ? near : stopFrom(wheeled.start, wheeled.direction), x, y, true);
    }, 160);
  }, { passive: false });

  element.addEventListener("dblclick", (event) => {
    if (event.target.closest("button")) return;
    const { x, y } = inMap(event);
    step(event.shiftKey ? -1 : 1, x, y);
  });
  element.addEventListener("keydown", (event) => {
    if (event.target !== element || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      ArrowLeft: () => pan(100, 0, true),
      ArrowRight: () => pan(-100, 0, true),
      ArrowUp: () => pan(0, 100, true),
      ArrowDown: () => pan(0, -100, true),
      "+": () => step(1),
      "=": () => step(1),
      "-": () => step(-1),
      Home: showAll,
      Enter: () => clicked({ x: width() / 2, y: height() / 2 }),
    };
    if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
  });
  byId("zoom-in").addEventListener("click", () => step(1));
  byId("zoom-out").addEventListener("click", () => step(-1));
  byId("zoom-fit").addEventListener("click", showAll);
  byId("borders")?.addEventListener("change", (event) => element.classList.toggle("borders", event.target.checked));
  byId("background")?.addEventListener("change", (event) => (background.element.hidden = !event.target.checked));

  const placeOf = ({ x, y }) => ({
    x: view.x + (x - width() / 2) * view.resolution,
    y: view.y - (y - height() / 2) * view.resolution,
  });

  function pointAt(point) {
    const { x, y } = placeOf(point);
    const digits = between(Math.ceil(-Math.log10(view.resolution)), 0, 8);
    byId("pointer").textContent = `${x.toFixed(digits)}, ${y.toFixed(digits)}`;
  }

  // ---------------------------------------------------------------- what is there

  const marker = Object.assign(document.createElement("div"), { className: "marker", hidden: true });
  element.append(marker);
  let marked = null;

  function placeMarker() {
    if (!marked) return;
    const x = (marked.x - view.x) / view.resolution + width() / 2;
    const y = (view.y - marked.y) / view.resolution + height() / 2;
    marker.style.transform = `translate(${x}px, ${y}px)`;
  }

  const info = map.info;
  const panel = byId("info");
  let asking = 0;
  let place = null;
  if (info) {
    element.classList.add("asks");
    byId("info-format").addEventListener("change", () => place && ask());
  }

  function clicked(point) {
    place = placeOf(point);
    if (info) ask();
  }

  // The request for a place: in the map that is seen, or in the tile below it.
  function infoUrl({ x, y }, format) {
    const at = (i, j) => (url) => url.replace("{i}", i).replace("{j}", j).replace("{format}", () => format);
    if (map.levels) {
      const tile = layer.place(layer.index, x, y);
      if (!tile.inside) return null;
      return tileUrl(info.url, tile.index, tile.column, tile.row, at(tile.i, tile.j));
    }
    const [w, h] = [width(), height()];
    const { resolution } = view;
    const box = [view.x - (w / 2) * resolution, view.y - (h / 2) * resolution, view.x + (w / 2) * resolution, view.y + (h / 2) * resolution];
    const pixel = (value, size) => between(Math.floor(value), 0, size - 1);
    const [i, j] = [pixel((x - box[0]) / resolution, w), pixel((box[3] - y) / resolution, h)];
    return fill(info.url, box, [w, h], at(i, j));
  }

  async function ask() {
    const number = ++asking;
    const url = infoUrl(place, byId("info-format").value);
    if (!url) return;
    marked = place;
    marker.hidden = false;
    schedule();
    byId("info-url").href = url;
    byId("info-url").textContent = url;
    panel.hidden = false;
    panel.dataset.state = "loading";
    let content;
    try {
      const answer = await fetch(url);
      const type = answer.headers.get("Content-Type") ?? "";
      const text = await answer.text();
      const isException = /xml/.test(type) && /<(\w+:)?(ServiceException|ExceptionText)\b/.test(text);
      content = answer.ok && !isException ? shown(text, type) : failed(`${answer.status}: ${reason(text, type)}`);
    } catch {
      content = failed("The server cannot be reached.");
    }
    if (number !== asking) return;
    byId("info-answer").replaceChildren(content);
    panel.dataset.state = "complete";
  }

  const failed = (text) => Object.assign(document.createElement("p"), { className: "bad", textContent: text });

  function shown(text, type) {
    if (!text.trim()) return Object.assign(document.createElement("p"), { className: "quiet", textContent: "Nothing here." });
    if (/html/.test(type)) return framed(text);
    const pre = document.createElement("pre");
    pre.tabIndex = 0;
    pre.textContent = text;
    if (/json/.test(type)) {
      try {
        pre.textContent = JSON.stringify(JSON.parse(text), null, 2);
      } catch {
        // As it is.
      }
    }
    return pre;
  }

  // Pages of strangers stand in a frame without rights. They run nothing, load nothing, and look like ours.
  function framed(text) {
    // Their styles and handlers are forbidden by our policy; browsers would complain about each already when reading.
    const bare = text
      .replace(/<style[\s\S]*?<\/style\s*>/gi, "")
      .replace(/<[a-z][^>]*>/gi, (tag) => tag.replace(/\s(style|on\w+)\s*=/gi, " data-$1="));
    const page = new DOMParser().parseFromString(bare, "text/html");
    for (const node of page.querySelectorAll("script, style, link, base, meta, iframe, object, embed, form")) node.remove();
    for (const node of page.querySelectorAll("*")) {
      for (const { name } of [...node.attributes]) {
        if (name === "style" || name.startsWith("on")) node.removeAttribute(name);
      }
    }
    for (const image of page.querySelectorAll("img")) {
      const source = image.getAttribute("src") ?? "";
      if (!source.startsWith("data:")) image.replaceWith(`[${image.alt || source}]`);
    }
    const style = page.createElement("link");
    style.rel = "stylesheet";
    style.href = document.querySelector("link[rel=stylesheet]").href;
    page.head.prepend(style);
    page.body.className = "answer";
    const frame = document.createElement("iframe");
    frame.title = "Feature info";
    frame.setAttribute("sandbox", "");
    frame.srcdoc = page.documentElement.outerHTML;
    return frame;
  }

  // ---------------------------------------------------------------- start

  function start() {
    fit(map.focus);
    go(false);
  }
  let started = false;
  new ResizeObserver(() => {
    if (!width() || !height()) return;
    if (started) return go(false);
    started = true;
    start();
  }).observe(element);
})();
