//! Where a picture on disk lies: world files and GeoTIFF tags.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use mapproxy_grid::{Bbox, Size, Srs};
use tiff::decoder::Decoder;
use tiff::tags::Tag;

/// The corner and the pixel of a picture that is not turned, in units of its SRS.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Placement {
    /// West edge of the first column.
    west: f64,
    /// North edge of the first row.
    north: f64,
    /// Width and height of a pixel.
    pixel: (f64, f64),
}

impl Placement {
    fn bbox(&self, size: Size) -> Bbox {
        let (width, height) = self.pixel;
        let east = self.west + width * f64::from(size.width);
        Bbox::new(self.west, self.north - height * f64::from(size.height), east, self.north)
    }
}

/// The box that the world file beside `picture` gives a picture of `size`; `None` where there is no such file.
pub(crate) fn world_file(picture: &Path, size: Size) -> Result<Option<Bbox>, String> {
    for path in world_file_names(picture) {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let placement = parse_world_file(&text).map_err(|reason| format!("{}: {reason}", path.display()))?;
        return Ok(Some(placement.bbox(size)));
    }
    Ok(None)
}

/// `map.pgw`, `map.pngw` and `map.wld` of `map.png`, and the same in capitals.
fn world_file_names(picture: &Path) -> Vec<PathBuf> {
    let ext = picture.extension().and_then(|ext| ext.to_str()).unwrap_or_default().to_ascii_lowercase();
    let mut letters = ext.chars();
    let short = letters.next().zip(letters.next_back()).map(|(first, last)| format!("{first}{last}w"));
    let names = [short, Some(format!("{ext}w")), Some("wld".to_owned())];
    let both = names.into_iter().flatten().flat_map(|name| [name.to_ascii_uppercase(), name].into_iter().rev());
    both.map(|ext| picture.with_extension(ext)).collect()
}

/// Six lines: pixel width, two rotations, negative pixel height, centre of the upper left pixel.
fn parse_world_file(text: &str) -> Result<Placement, String> {
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(|word| word.replace(',', ".").parse().map_err(|_| format!("{word:?} is no number")))
        .collect::<Result<_, _>>()?;
    let &[width, rotation_y, rotation_x, height, x, y] = numbers.as_slice() else {
        return Err(format!("a world file has six numbers, not {}", numbers.len()));
    };
    if rotation_x != 0.0 || rotation_y != 0.0 {
        return Err("the picture is turned; warp it first (gdalwarp)".to_owned());
    }
    let pixel = (width, -height);
    checked(Placement { west: x - width / 2.0, north: y - height / 2.0, pixel })
}

fn checked(placement: Placement) -> Result<Placement, String> {
    let Placement { west, north, pixel: (width, height) } = placement;
    if width > 0.0 && height > 0.0 && [west, north, width, height].iter().all(|number| number.is_finite()) {
        Ok(placement)
    } else {
        Err(format!("pixels of {width} by {height} at {west}, {north} make no map (north must be up)"))
    }
}

/// What the tags of a GeoTIFF say (OGC 19-008r4).
#[derive(Debug, Default)]
pub(crate) struct GeoTags {
    /// The picture's box.
    pub(crate) bbox: Option<Bbox>,
    /// The SRS of the box.
    pub(crate) srs: Option<Srs>,
}

/// Reads the tags of a TIFF; other files have none.
pub(crate) fn geo_tags(file: &[u8], size: Size) -> Result<GeoTags, String> {
    if !matches!(
        file,
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] | [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..]
    ) {
        return Ok(GeoTags::default());
    }
    let mut decoder = Decoder::new(Cursor::new(file)).map_err(|error| error.to_string())?;
    let mut floats = |tag| {
        let value = decoder.find_tag(Tag::from_u16_exhaustive(tag)).ok().flatten();
        value.and_then(|value| value.into_f64_vec().ok())
    };
    let (scale, tie, matrix) = (floats(MODEL_PIXEL_SCALE), floats(MODEL_TIEPOINT), floats(MODEL_TRANSFORMATION));
    let keys = decoder.find_tag(Tag::from_u16_exhaustive(GEO_KEY_DIRECTORY)).ok().flatten();
    let keys = GeoKeys(keys.and_then(|keys| keys.into_u16_vec().ok()).unwrap_or_default());
    let placement = match (scale.as_deref(), tie.as_deref(), matrix.as_deref()) {
        (Some(&[width, height, ..]), Some(&[column, row, _, x, y, ..]), _) => {
            Some(Placement { west: x - column * width, north: y + row * height, pixel: (width, height) })
        }
        (_, _, Some(&[width, turn_x, _, x, turn_y, height, _, y, ..])) => {
            if turn_x != 0.0 || turn_y != 0.0 {
                return Err("the picture is turned; warp it first (gdalwarp)".to_owned());
            }
            Some(Placement { west: x, north: y, pixel: (width, -height) })
        }
        _ => None,
    };
    let bbox = match placement.map(checked).transpose()? {
        // RasterPixelIsPoint: positions are of pixel centres.
        Some(Placement { west, north, pixel: (width, height) }) if keys.get(GT_RASTER_TYPE) == Some(2) => {
            let shifted = Placement { west: west - width / 2.0, north: north + height / 2.0, pixel: (width, height) };
            Some(shifted.bbox(size))
        }
        Some(placement) => Some(placement.bbox(size)),
        None => None,
    };
    let code = keys.get(PROJECTED_CRS).or_else(|| keys.get(GEODETIC_CRS)).filter(|code| (1024..32767).contains(code));
    let srs = code.map(|code| Srs::new(&format!("EPSG:{code}")).map_err(|error| error.to_string())).transpose()?;
    Ok(GeoTags { bbox, srs })
}

const MODEL_PIXEL_SCALE: u16 = 33550;
const MODEL_TIEPOINT: u16 = 33922;
const MODEL_TRANSFORMATION: u16 = 34264;
const GEO_KEY_DIRECTORY: u16 = 34735;
const GT_RASTER_TYPE: u16 = 1025;
const GEODETIC_CRS: u16 = 2048;
const PROJECTED_CRS: u16 = 3072;

/// A header of four numbers, then four for each key: id, location (0: the value itself), count, value.
struct GeoKeys(Vec<u16>);

impl GeoKeys {
    fn get(&self, id: u16) -> Option<u16> {
        let mut keys = self.0.get(4..)?.chunks_exact(4);
        keys.find(|key| key[0] == id && key[1] == 0).map(|key| key[3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_file_places_the_centre_of_the_first_pixel() {
        let world = parse_world_file("1.0\n0.0\n0.0\n-1.0\n-179.5\n89.5\n").unwrap();
        assert_eq!(world.bbox(Size::new(360, 180)), Bbox::new(-180.0, -90.0, 180.0, 90.0));
        assert!(parse_world_file("1 0.1 0 -1 0 0").unwrap_err().contains("turned"));
        assert!(parse_world_file("1 0 0 1 0 0").unwrap_err().contains("north must be up"));
        assert!(parse_world_file("1 0 0").unwrap_err().contains("not 3"));
        assert!(parse_world_file("1 0 0 x 0 0").unwrap_err().contains("\"x\""));
        assert!(parse_world_file("1 0 0 -1 nan 0").is_err());
    }

    #[test]
    fn world_files_have_three_names() {
        let names = |name: &str| {
            let names = world_file_names(Path::new(name)).into_iter();
            names.map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("d/map.png"), "d/map.pgw d/map.PGW d/map.pngw d/map.PNGW d/map.wld d/map.WLD");
        assert_eq!(names("map.JPEG"), "map.jgw map.JGW map.jpegw map.JPEGW map.wld map.WLD");
        assert_eq!(names("map"), "map.w map.W map.wld map.WLD");
    }
}
