// Draws one layer with MapLibre GL and tells the colours at places. Called by test_browser_clients.py.
import * as maplibre from "/node_modules/maplibre-gl/dist/maplibre-gl.mjs";

// [r, g, b, a] at each of `places` (degrees), drawn around `centre` at a level.
window.colours = async ({ source, centre, zoom, places }) => {
  const failed = [];
  const map = new maplibre.Map({
    container: "map",
    style: { version: 8, sources: { source }, layers: [{ id: "layer", type: "raster", source: "source" }] },
    center: centre,
    zoom,
    fadeDuration: 0,
    attributionControl: false,
    canvasContextAttributes: { preserveDrawingBuffer: true },
  });
  map.on("error", (event) => failed.push(String(event.error?.message ?? event)));
  await new Promise((done) => map.once("idle", done));
  const drawn = map.getCanvas();
  const canvas = Object.assign(document.createElement("canvas"), { width: drawn.width, height: drawn.height });
  const context = canvas.getContext("2d");
  context.drawImage(drawn, 0, 0);
  const scale = drawn.width / drawn.clientWidth;
  const found = places.map((place) => {
    const { x, y } = map.project(place);
    return [...context.getImageData(Math.round(x * scale), Math.round(y * scale), 1, 1).data];
  });
  map.remove();
  return { found, failed };
};
