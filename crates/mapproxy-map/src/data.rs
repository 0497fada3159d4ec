//! Tiles of data: vector tiles, JSON, terrain. Nobody here looks into them; they are passed on byte by byte.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{MapError, MapQuery, SourceProfile};

/// The format of tiles that are no pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFormat {
    kind: DataKind,
    extension: Arc<str>,
}

/// What is known of a format of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// Mapbox vector tiles.
    Vector,
    /// JSON of any kind.
    Json,
    /// GeoJSON.
    GeoJson,
    /// Terrain as quantized meshes.
    QuantizedMesh,
}

/// Names, extension in addresses and of files, kind. The first name of a kind is its media type.
const NAMES: [(&str, &str, DataKind); 10] = [
    ("application/vnd.mapbox-vector-tile", "mvt", DataKind::Vector),
    ("application/x-protobuf", "pbf", DataKind::Vector),
    ("mvt", "mvt", DataKind::Vector),
    ("pbf", "pbf", DataKind::Vector),
    ("application/json", "json", DataKind::Json),
    ("json", "json", DataKind::Json),
    ("application/geo+json", "geojson", DataKind::GeoJson),
    ("geojson", "geojson", DataKind::GeoJson),
    ("application/vnd.quantized-mesh", "terrain", DataKind::QuantizedMesh),
    ("terrain", "terrain", DataKind::QuantizedMesh),
];

/// What a gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What is wrong with bytes that should be a tile of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataDamage {
    /// There are none.
    #[error("it is empty")]
    Empty,
    /// They are cut off, or something else.
    #[error("it is no {0}, or not a whole one")]
    Broken(&'static str),
}

impl DataFormat {
    /// The format called `name`: a media type or an extension.
    pub fn named(name: &str) -> Option<DataFormat> {
        let (_, extension, kind) = NAMES.iter().find(|(known, _, _)| *known == name)?;
        Some(DataFormat { kind: *kind, extension: Arc::from(*extension) })
    }

    /// Of files, and in addresses.
    pub fn extension(&self) -> &str {
        &self.extension
    }

    /// The media type.
    pub fn media_type(&self) -> &'static str {
        NAMES.iter().find(|(_, _, kind)| *kind == self.kind).expect("each kind has a name").0
    }

    /// What is known of it.
    pub fn kind(&self) -> DataKind {
        self.kind
    }

    /// Whether a request that names this format means it: by any of the names that it has.
    pub fn is_called(&self, name: &str) -> bool {
        let name = name.split(';').next().unwrap_or(name).trim();
        NAMES.iter().any(|(known, _, kind)| *kind == self.kind && *known == name)
    }

    /// The bytes are a tile of this format, compressed by gzip or not, from its beginning to its end: as far as can be
    /// told without unpacking it.
    pub fn check(&self, bytes: &[u8]) -> Result<(), DataDamage> {
        if bytes.is_empty() {
            return Err(DataDamage::Empty);
        }
        let is_whole = match self.kind {
            _ if is_gzip(bytes) => is_whole_gzip(bytes),
            DataKind::Vector => is_protobuf(bytes),
            DataKind::Json | DataKind::GeoJson => is_json(bytes),
            DataKind::QuantizedMesh => is_mesh(bytes),
        };
        if is_whole { Ok(()) } else { Err(DataDamage::Broken(self.media_type())) }
    }
}

/// The bytes are compressed by gzip.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&GZIP)
}

/// A gzip file ends with the size of what it holds. In one that is cut off, other bytes stand there, which hardly ever
/// make a size that could be packed into so few bytes.
fn is_whole_gzip(bytes: &[u8]) -> bool {
    // Header and trailer, and the least that deflate needs.
    const LEAST: usize = 10 + 2 + 8;
    // No byte stands for more than this many.
    const BEST: u64 = 1032;
    let Some(size) = bytes.last_chunk::<4>().filter(|_| bytes.len() >= LEAST) else { return false };
    let (size, packed) = (u64::from(u32::from_le_bytes(*size)), (bytes.len() - 18) as u64);
    // Stored as it is, data grows by a few bytes for each 64 KiB; there may be names in the header.
    size <= packed * BEST && (size > 0 || bytes.len() < 100) && packed <= size + size / 1000 + 1024
}

/// Fields follow each other up to the very end (protobuf encoding: a key, then a number or a length and so many bytes).
fn is_protobuf(bytes: &[u8]) -> bool {
    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in 0..10 {
            let (byte, rest) = bytes.split_first()?;
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << (shift * 7);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    fn field(bytes: &mut &[u8]) -> Option<()> {
        let key = varint(bytes)?;
        let length = match key & 7 {
            0 => {
                varint(bytes)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(bytes)?).ok()?,
            5 => 4,
            _ => return None,
        };
        *bytes = bytes.get(length..).filter(|_| key >> 3 > 0)?;
        Some(())
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        if field(&mut rest).is_none() {
            return false;
        }
    }
    true
}

/// One object or list, from its bracket to its bracket.
fn is_json(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    matches!(text, [b'{', .., b'}'] | [b'[', .., b']'])
}

/// The header (88 bytes) and as many vertices as it says, of three numbers of two bytes.
fn is_mesh(bytes: &[u8]) -> bool {
    let count = bytes.get(88..92).and_then(|count| count.try_into().ok()).map(u32::from_le_bytes);
    count.is_some_and(|count| count > 0 && 92 + u64::from(count) * 6 + 4 <= bytes.len() as u64)
}

/// A tile of data as a source gives it.
#[derive(Clone, Debug)]
pub struct DataTile {
    /// As they came, compressed by gzip or not; `None`: there is nothing at this place.
    pub bytes: Option<Bytes>,
    /// May be stored, and kept by clients; `false` for stand-ins of failures.
    pub cacheable: bool,
}

impl DataTile {
    /// Nothing here.
    pub const EMPTY: DataTile = DataTile { bytes: None, cacheable: true };
}

/// Something that has tiles of data: an upstream server or a cache.
pub trait DataSource: Any + fmt::Debug + Send + Sync {
    /// What never changes between queries.
    fn profile(&self) -> &SourceProfile;

    /// The tile that `query` is the box of.
    fn data(&self, query: &MapQuery, format: &DataFormat) -> Result<DataTile, MapError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer called `roads`, of version 2.
    const VECTOR: &[u8] = b"\x1a\x0c\x0a\x05roads\x28\x80\x20\x78\x02";

    fn mesh(vertices: u32) -> Vec<u8> {
        [&[7; 88][..], &vertices.to_le_bytes(), &vec![1; vertices as usize * 6], &0_u32.to_le_bytes()].concat()
    }

    fn format(name: &str) -> DataFormat {
        DataFormat::named(name).unwrap()
    }

    #[test]
    fn formats_have_many_names_and_one_media_type() {
        for name in ["mvt", "pbf", "application/vnd.mapbox-vector-tile", "application/x-protobuf"] {
            let format = format(name);
            assert_eq!(format.media_type(), "application/vnd.mapbox-vector-tile");
            assert!(format.is_called("pbf") && format.is_called("mvt") && !format.is_called("png"));
            assert!(format.is_called("application/vnd.mapbox-vector-tile; charset=binary"));
        }
        assert_eq!(
            [format("pbf").extension(), format("application/vnd.mapbox-vector-tile").extension()],
            ["pbf", "mvt"]
        );
        assert_eq!((format("terrain").kind(), DataFormat::named("png")), (DataKind::QuantizedMesh, None));
    }

    #[test]
    fn whole_tiles_are_told_from_those_cut_off() {
        let mesh = mesh(9);
        let json = &b"{\"type\": \"FeatureCollection\"}\n"[..];
        for (name, bytes) in [("mvt", VECTOR), ("json", json), ("geojson", b"[1]"), ("terrain", &mesh)] {
            let format = format(name);
            assert_eq!(format.check(bytes), Ok(()), "{name}");
            assert_eq!(format.check(b""), Err(DataDamage::Empty));
            for length in 1..bytes.trim_ascii_end().len() {
                assert!(format.check(&bytes[..length]).is_err(), "{name} cut off after {length}");
            }
            for other in [&b"<html>no</html>"[..], &[0; 400], b"Not found"] {
                assert!(format.check(other).is_err(), "{other:?} is no {name}");
            }
        }
        assert!(format("mvt").check(json).is_err() && format("json").check(VECTOR).is_err());
    }

    #[test]
    fn several_layers_and_other_fields_are_vector_tiles() {
        let two = [VECTOR, VECTOR, b"\x80\x01\x05", b"\x8d\x01\0\0\0\0"].concat();
        assert_eq!(format("pbf").check(&two), Ok(()));
    }

    #[test]
    fn what_is_packed_is_known_by_its_end() {
        let trailer = |size: u32| {
            [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0x55; 40], &[1, 2, 3, 4], &size.to_le_bytes()].concat()
        };
        for name in ["mvt", "json", "terrain"] {
            assert_eq!(format(name).check(&trailer(60)), Ok(()));
            assert!(format(name).check(&trailer(1_000_000_000)).is_err());
            assert!(format(name).check(&trailer(60)[..19]).is_err());
        }
        let nothing = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(format("mvt").check(&nothing), Ok(()));
    }
}
