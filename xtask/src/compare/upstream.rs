//! The map server behind both programs: a WMS and tiles of a smooth, made-up world.
//!
//! What is drawn is a function of longitude and latitude, so that a picture shows whether it was drawn at the right
//! place, and pictures resampled in slightly different ways differ only slightly. The first path segment tells who asks;
//! what each asked is kept, to be compared.

use std::collections::HashMap;
use std::f64::consts::PI;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use image::{ImageFormat, Rgba, RgbaImage};

/// The server; it ends with the program.
pub(super) struct Upstream {
    pub(super) port: u16,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Upstream {
    pub(super) fn start() -> Result<Upstream> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                std::thread::spawn(move || serve(stream, &log));
            }
        });
        Ok(Upstream { port, asked })
    }

    /// What `who` asked since the last call, in the order of the alphabet: whoever asks may ask several at once.
    pub(super) fn take(&self, who: &str) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut mine, others) = asked.drain(..).partition::<Vec<_>, _>(|(name, _)| name == who);
        *asked = others;
        mine.sort();
        mine.into_iter().map(|(_, path)| path).collect()
    }
}

/// Answers the requests of one connection until it is closed.
fn serve(stream: TcpStream, log: &Mutex<Vec<(String, String)>>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut field = String::new();
        while reader.read_line(&mut field).unwrap_or(0) > 2 {
            field.clear();
        }
        let target = line.split(' ').nth(1).unwrap_or("/");
        let (who, path) = target.trim_start_matches('/').split_once('/').unwrap_or(("", ""));
        log.lock().unwrap_or_else(PoisonError::into_inner).push((who.to_owned(), path.to_owned()));
        let (status, kind, body) = answer(who, path);
        let head = format!("HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&body)).is_err() {
            return;
        }
    }
}

type Answer = (u16, String, Vec<u8>);

fn answer(who: &str, target: &str) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let params: HashMap<String, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_lowercase(), decode(value)))
        .collect();
    match path.split('/').next().unwrap_or_default() {
        "wms" => wms(&params).unwrap_or_else(|| text(400, "text/plain", "cannot understand the request")),
        "arcgis" => arcgis(path, &params).unwrap_or_else(|| text(400, "text/plain", "cannot understand the request")),
        "api" => api(who, path, &params).unwrap_or_else(|| text(404, "text/plain", "no such resource")),
        "tiles" => tile(path).unwrap_or_else(|| text(404, "text/plain", "no such tile")),
        // The same picture for whatever is asked: only the question counts.
        "any" => picture("image/png", (256, 256), "any", "any", Box::new(|x, y| (x, y))),
        "broken" => text(500, "text/plain", "out of order"),
        "garbage" => text(200, "text/html", "<html><body>no map today</body></html>"),
        "exception" => text(
            200,
            "application/vnd.ogc.se_xml",
            "<ServiceExceptionReport><ServiceException>no map today</ServiceException></ServiceExceptionReport>",
        ),
        _ => text(404, "text/plain", "not here"),
    }
}

fn text(status: u16, kind: &str, body: &str) -> Answer {
    (status, kind.to_owned(), body.as_bytes().to_vec())
}

fn decode(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let code = std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(code.unwrap_or(b'?'));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wms(params: &HashMap<String, String>) -> Option<Answer> {
    let get = |name: &str| params.get(name).map(String::as_str);
    let layers = get("layers").or(get("layer")).unwrap_or_default();
    match get("request")?.to_lowercase().as_str() {
        "getmap" | "map" => {
            let lonlat = lonlat_of(params)?;
            let size = (get("width")?.parse().ok()?, get("height")?.parse().ok()?);
            let extra = get("time").or(get("elevation")).unwrap_or_default();
            Some(picture(get("format")?, size, layers, &format!("{layers}{extra}"), lonlat))
        }
        "getfeatureinfo" | "feature_info" => {
            let position = |one, other| get(one).or(get(other)).unwrap_or_default();
            let (x, y) = (position("x", "i"), position("y", "j"));
            let kind = get("info_format").unwrap_or("text/plain");
            let body = match kind {
                "text/html" => {
                    format!("<html><head><title>t</title></head><body><p>{layers} {x} {y}</p></body></html>")
                }
                "application/json" => format!("{{\"layers\": {{\"{layers}\": [\"{x}\", \"{y}\"]}}, \"list\": [1]}}"),
                kind if kind.contains("xml") || kind.contains("gml") => {
                    format!("<?xml version=\"1.0\"?><info><layer name=\"{layers}\" x=\"{x}\" y=\"{y}\"/></info>")
                }
                _ => format!("{layers}: {x} {y}"),
            };
            Some(text(200, kind, &body))
        }
        "getlegendgraphic" => {
            let height = 10 + 5 * layers.len() as u32;
            Some(picture("image/png", (40, height), layers, layers, Box::new(|x, y| (x, y))))
        }
        _ => None,
    }
}

/// The REST interface of an ArcGIS server.
fn arcgis(path: &str, params: &HashMap<String, String>) -> Option<Answer> {
    let layers = params.get("layers").map(String::as_str).unwrap_or_default();
    if path.ends_with("/identify") {
        let geometry = params.get("geometry")?;
        return Some(match params.get("f")?.as_str() {
            "html" => text(200, "text/html", &format!("<html><body><p>{layers} {geometry}</p></body></html>")),
            _ => text(200, "application/json", &format!("{{\"results\": [\"{layers}\", \"{geometry}\"]}}")),
        });
    }
    let (width, height) = params.get("size")?.split_once(',')?;
    let mut box_params = params.clone();
    box_params.insert("srs".to_owned(), format!("EPSG:{}", params.get("bboxsr")?));
    let lonlat = lonlat_of(&box_params)?;
    Some(picture(params.get("format")?, (width.parse().ok()?, height.parse().ok()?), layers, layers, lonlat))
}

/// OGC API Maps and Tiles: documents, maps in degrees and metres, tiles of the web mercator.
fn api(who: &str, path: &str, params: &HashMap<String, String>) -> Option<Answer> {
    const DEF: &str = "http://www.opengis.net/def";
    let link = |rel: &str, kind: &str, href: &str| serde_json::json!({"rel": rel, "type": kind, "href": format!("/{who}/api{href}")});
    let ogc = |rel: &str| format!("{DEF}/rel/ogc/1.0/{rel}");
    let maps = [link(&ogc("map"), "image/png", "/map"), link("[ogc-rel:map]", "image/jpeg", "/map.jpg")];
    let mercator = format!("{DEF}/crs/EPSG/0/3857");
    let document = match path.strip_prefix("api").unwrap_or_default().trim_end_matches('/') {
        "" => serde_json::json!({
            "links": [maps[0], maps[1], link(&ogc("tilesets-map"), "application/json", "/tiles")],
        }),
        "/collections/metres" => serde_json::json!({
            "links": maps, "crs": [format!("{DEF}/crs/OGC/1.3/CRS84"), mercator], "storageCrs": mercator,
        }),
        "/tiles" => serde_json::json!({"tilesets": [{"dataType": "map", "crs": mercator, "links": [
            link("self", "application/json", "/tiles/quad"),
            link(&ogc("tiling-scheme"), "application/json", "/schemes/quad"),
        ]}]}),
        "/tiles/quad" => serde_json::json!({"links": [
            link("item", "image/png", "/tile/{tileMatrix}/{tileRow}/{tileCol}"),
        ]}),
        "/schemes/quad" => {
            let edge = PI * RADIUS;
            let matrix = |level: i32| {
                serde_json::json!({
                    "id": level.to_string(), "cellSize": 2.0 * edge / 256.0 / 2_f64.powi(level),
                    "cornerOfOrigin": "topLeft", "pointOfOrigin": [-edge, edge], "tileWidth": 256, "tileHeight": 256,
                    "matrixWidth": 1 << level, "matrixHeight": 1 << level,
                })
            };
            let matrices: Vec<_> = (0..18).map(matrix).collect();
            serde_json::json!({"id": "quad", "crs": mercator, "tileMatrices": matrices})
        }
        "/map" | "/map.jpg" => {
            let mut params = params.clone();
            let code = params.get("bbox-crs").and_then(|uri| uri.rsplit('/').next()).unwrap_or("4326").to_owned();
            params.insert("srs".to_owned(), format!("EPSG:{code}"));
            params.remove("crs");
            let size = (params.get("width")?.parse().ok()?, params.get("height")?.parse().ok()?);
            let format = if path.ends_with("jpg") { "image/jpeg" } else { "image/png" };
            return Some(picture(format, size, "maps", "maps", lonlat_of(&params)?));
        }
        other => {
            let mut numbers = other.strip_prefix("/tile/")?.split('/');
            let (level, row, column) = (numbers.next()?, numbers.next()?, numbers.next()?);
            return tile(&format!("tiles/{level}/{column}/{row}"));
        }
    };
    Some(text(200, "application/json", &document.to_string()))
}

/// Longitude and latitude (degrees) of a place in the picture, from 0 to 1 from the upper left.
type LonLat = Box<dyn Fn(f64, f64) -> (f64, f64)>;

fn lonlat_of(params: &HashMap<String, String>) -> Option<LonLat> {
    let srs = params.get("crs").or(params.get("srs"))?.to_uppercase();
    let numbers: Vec<f64> = params.get("bbox")?.split(',').filter_map(|number| number.parse().ok()).collect();
    let &[mut min_x, mut min_y, mut max_x, mut max_y] = numbers.as_slice() else { return None };
    if params.contains_key("crs") && srs == "EPSG:4326" {
        (min_x, min_y, max_x, max_y) = (min_y, min_x, max_y, max_x);
    }
    let place = move |x: f64, y: f64| (min_x + x * (max_x - min_x), max_y - y * (max_y - min_y));
    match srs.as_str() {
        "EPSG:4326" | "CRS:84" => Some(Box::new(place)),
        "EPSG:3857" | "EPSG:900913" => Some(Box::new(move |x, y| {
            let (x, y) = place(x, y);
            mercator_to_lonlat(x, y)
        })),
        _ => None,
    }
}

/// Radius of the sphere of EPSG:3857, in metres.
const RADIUS: f64 = 6_378_137.0;

fn mercator_to_lonlat(x: f64, y: f64) -> (f64, f64) {
    ((x / RADIUS).to_degrees(), (y / RADIUS).sinh().atan().to_degrees())
}

fn tile(path: &str) -> Option<Answer> {
    let mut segments = path.split('/').skip(1);
    let mut number = || segments.next()?.split('.').next()?.parse::<u32>().ok();
    let (level, column, row) = (number()?, number()?, number()?);
    let tiles = f64::from(2_u32.checked_pow(level)?);
    let place = move |x: f64, y: f64| {
        let fraction = |index: u32, inside: f64| (f64::from(index) + inside) / tiles * 2.0 - 1.0;
        mercator_to_lonlat(fraction(column, x) * PI * RADIUS, -fraction(row, y) * PI * RADIUS)
    };
    Some(picture("image/png", (256, 256), "tiles", "tiles", Box::new(place)))
}

/// Waves whose phase depends on `seed`; layers called `…overlay` are transparent in stripes.
fn picture(format: &str, (width, height): (u32, u32), layers: &str, seed: &str, lonlat: LonLat) -> Answer {
    let phase = seed.bytes().fold(0.0, |sum, byte| sum + f64::from(byte) * 0.37);
    let wave = |value: f64| (127.5 + 120.0 * value.sin()) as u8;
    let has_alpha = layers.ends_with("overlay");
    let picture = RgbaImage::from_fn(width.min(8192), height.min(8192), |column, row| {
        let centre = |index: u32, count: u32| (f64::from(index) + 0.5) / f64::from(count);
        let (lon, lat) = lonlat(centre(column, width), centre(row, height));
        let (lon, lat) = (lon.to_radians() * 2.0, lat.to_radians() * 2.0);
        let alpha = if has_alpha { (127.5 + 200.0 * (lon + lat + phase).sin()).clamp(0.0, 255.0) as u8 } else { 255 };
        Rgba([wave(lon + phase), wave(lat * 1.3 + phase), wave((lon - lat) * 0.7), alpha])
    });
    let format = if format.to_lowercase().contains("jp") { ImageFormat::Jpeg } else { ImageFormat::Png };
    let mut bytes = Cursor::new(Vec::new());
    let written = if has_alpha && format == ImageFormat::Png {
        picture.write_to(&mut bytes, format)
    } else {
        image::DynamicImage::ImageRgba8(picture).to_rgb8().write_to(&mut bytes, format)
    };
    match written {
        Ok(()) => (200, format.to_mime_type().to_owned(), bytes.into_inner()),
        Err(error) => text(500, "text/plain", &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colours(path: &str) -> RgbaImage {
        let (status, _, body) = answer("who", path);
        assert_eq!(status, 200, "{path}");
        image::load_from_memory(&body).unwrap().to_rgba8()
    }

    #[test]
    fn the_same_place_has_the_same_colour_in_every_srs() {
        let query = "wms?request=GetMap&layers=a&width=64&height=64&format=image/png";
        let degrees = colours(&format!("{query}&srs=EPSG:4326&bbox=10,-1,12,1"));
        let swapped = colours(&format!("{query}&crs=EPSG:4326&bbox=-1,10,1,12"));
        let metres = colours(&format!("{query}&srs=EPSG:3857&bbox=1113194.9,-111325.1,1335833.9,111325.1"));
        assert_eq!(degrees, swapped);
        let largest = degrees.iter().zip(metres.iter()).map(|(one, other)| one.abs_diff(*other)).max();
        assert!(largest.unwrap() <= 1);
    }

    #[test]
    fn overlays_are_transparent_in_part() {
        let query = "wms?request=GetMap&width=64&height=64&format=image/png&srs=EPSG:4326&bbox=-180,-90,180,90";
        assert!(colours(&format!("{query}&layers=overlay")).pixels().any(|pixel| pixel[3] == 0));
        assert!(colours(&format!("{query}&layers=base")).pixels().all(|pixel| pixel[3] == 255));
    }
}
