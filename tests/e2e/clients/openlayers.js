// Draws one layer with OpenLayers and tells the colours at places. Called by test_browser_clients.py.
"use strict";

const layers = {
  wms: ({ url, layer, version, srs }) =>
    new ol.layer.Image({
      source: new ol.source.ImageWMS({
        url,
        params: { LAYERS: layer, VERSION: version },
        projection: srs,
        ratio: 1,
        crossOrigin: "anonymous",
      }),
    }),

  "tiled wms": ({ url, layer, version, srs }) =>
    new ol.layer.Tile({
      source: new ol.source.TileWMS({
        url,
        params: { LAYERS: layer, VERSION: version, TILED: true },
        projection: srs,
        crossOrigin: "anonymous",
      }),
    }),

  wmts: async ({ url, layer, set }) => {
    const answer = await fetch(url);
    const capabilities = new ol.format.WMTSCapabilities().read(await answer.text());
    const options = ol.source.WMTS.optionsFromCapabilities(capabilities, { layer, matrixSet: set });
    return new ol.layer.Tile({ source: new ol.source.WMTS({ ...options, crossOrigin: "anonymous" }) });
  },

  xyz: ({ url }) => new ol.layer.Tile({ source: new ol.source.XYZ({ url, crossOrigin: "anonymous" }) }),

  // In the web mercator, TMS begins with what everybody else calls level 1.
  tms: ({ url }) => {
    const tileUrlFunction = ([z, x, y]) =>
      z === 0 ? undefined : url.replace("{z}", z - 1).replace("{x}", x).replace("{-y}", 2 ** z - 1 - y);
    return new ol.layer.Tile({ source: new ol.source.XYZ({ tileUrlFunction, crossOrigin: "anonymous" }) });
  },

  tilejson: ({ url }) => new ol.layer.Tile({ source: new ol.source.TileJSON({ url, crossOrigin: "anonymous" }) }),

  "ogc api tiles": ({ url }) =>
    new ol.layer.Tile({
      source: new ol.source.OGCMapTile({ url, mediaType: "image/png", crossOrigin: "anonymous" }),
    }),
};

// [r, g, b, a] at each of `places` (degrees), drawn around `centre` with `resolution` (units of `srs` per pixel).
async function colours({ kind, options, srs, centre, resolution, places }) {
  const layer = await layers[kind]({ srs, ...options });
  const element = document.getElementById("map");
  element.replaceChildren();
  const project = (place) => ol.proj.fromLonLat(place, srs);
  const view = new ol.View({ projection: srs, center: project(centre), resolution, constrainResolution: false });
  const map = new ol.Map({ target: element, layers: [layer], view, controls: [], pixelRatio: 1 });
  const failed = [];
  const source = layer.getSource();
  for (const event of ["tileloaderror", "imageloaderror"]) source.on(event, (of) => failed.push(of.type));
  // Some sources ask for a description first.
  await new Promise((done) => {
    const look = () => source.getState() !== "loading" && done();
    source.on("change", look);
    look();
  });
  if (source.getState() === "error") return { found: [], failed: ["the description of the source"] };
  await new Promise((done) => map.once("rendercomplete", done));
  const canvas = element.querySelector("canvas");
  const context = canvas.getContext("2d");
  const found = places.map((place) => {
    const [x, y] = map.getPixelFromCoordinate(project(place));
    return [...context.getImageData(Math.round(x), Math.round(y), 1, 1).data];
  });
  map.setTarget(null);
  return { found, failed };
}
