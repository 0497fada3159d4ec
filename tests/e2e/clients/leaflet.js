// Draws one layer with Leaflet and tells the colours at places. Called by test_browser_clients.py.
"use strict";

const layers = {
  wms: ({ url, ...options }) => L.tileLayer.wms(url, { ...options, crossOrigin: "" }),
  xyz: ({ url, ...options }) => L.tileLayer(url, { ...options, crossOrigin: "" }),
};

// [r, g, b, a] at each of `places` (degrees), drawn around `centre` at a level.
async function colours({ kind, options, crs, centre, zoom, places }) {
  document.body.innerHTML = '<div id="map"></div>';
  const map = L.map("map", { crs: L.CRS[crs], zoomControl: false, fadeAnimation: false, zoomAnimation: false });
  map.setView([centre[1], centre[0]], zoom);
  const layer = layers[kind](options);
  const failed = [];
  layer.on("tileerror", () => failed.push("tile"));
  await new Promise((done) => layer.on("load", done).addTo(map));
  const found = places.map(([lon, lat]) => {
    const point = map.latLngToContainerPoint([lat, lon]).round();
    const frame = document.getElementById("map").getBoundingClientRect();
    const at = { x: frame.left + point.x, y: frame.top + point.y };
    for (const tile of document.querySelectorAll("img.leaflet-tile")) {
      const box = tile.getBoundingClientRect();
      if (at.x < box.left || at.x >= box.right || at.y < box.top || at.y >= box.bottom) continue;
      const canvas = Object.assign(document.createElement("canvas"), { width: tile.naturalWidth, height: tile.naturalHeight });
      const context = canvas.getContext("2d");
      context.drawImage(tile, 0, 0);
      return [...context.getImageData(Math.floor(at.x - box.left), Math.floor(at.y - box.top), 1, 1).data];
    }
    return null;
  });
  map.remove();
  return { found, failed };
}
