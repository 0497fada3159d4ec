//! The header of a PMTiles archive, version 3: 127 bytes, numbers little-endian.

use super::ArchiveError;

/// Bytes of a header.
pub(super) const LENGTH: usize = 127;

/// A part of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Section {
    /// Where it begins.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
}

/// How directories, or tiles, are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not told.
    #[default]
    Unknown,
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    const ALL: [Compression; 5] =
        [Compression::Unknown, Compression::None, Compression::Gzip, Compression::Brotli, Compression::Zstd];
}

/// What tiles are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TileType {
    /// Not told.
    #[default]
    Unknown,
    /// Mapbox vector tiles.
    Mvt,
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    Webp,
    /// AVIF.
    Avif,
}

impl TileType {
    const ALL: [TileType; 6] =
        [TileType::Unknown, TileType::Mvt, TileType::Png, TileType::Jpeg, TileType::Webp, TileType::Avif];
}

/// What an archive says of itself.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Header {
    /// The first directory.
    pub root: Section,
    /// A JSON object.
    pub metadata: Section,
    /// The other directories.
    pub leaves: Section,
    /// The tiles.
    pub tiles: Section,
    /// Tiles by address, entries of directories, different tiles; 0: not told.
    pub counts: [u64; 3],
    /// Tiles lie in the order of their numbers.
    pub clustered: bool,
    /// Of directories and metadata.
    pub internal: Compression,
    /// Of tiles.
    pub tile_compression: Compression,
    /// What tiles are.
    pub tile_type: TileType,
    /// Coarsest and finest level.
    pub zooms: (u8, u8),
    /// West, south, east, north, in ten-millionths of a degree.
    pub bounds: [i32; 4],
    /// Level, longitude and latitude to show first, the latter in ten-millionths of a degree.
    pub center: (u8, i32, i32),
}

impl Header {
    /// Reads the header at the beginning of `bytes`; all sections end before 2^63.
    pub fn parse(bytes: &[u8]) -> Result<Header, ArchiveError> {
        let Some(bytes) = bytes.first_chunk::<LENGTH>() else {
            return Err(ArchiveError::Malformed("its header is cut off"));
        };
        if &bytes[..7] != b"PMTiles" {
            return Err(ArchiveError::Malformed("it is no PMTiles archive"));
        }
        if bytes[7] != 3 {
            return Err(ArchiveError::Unsupported(format!("version {} of PMTiles (only 3 is known)", bytes[7])));
        }
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let degrees = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let section = |at: usize| Section { offset: number(at), length: number(at + 8) };
        let (root, metadata, leaves, tiles) = (section(8), section(24), section(40), section(56));
        for Section { offset, length } in [root, metadata, leaves, tiles] {
            if offset.checked_add(length).is_none_or(|end| end > i64::MAX as u64) {
                return Err(ArchiveError::Malformed("its header names parts that cannot be"));
            }
        }
        let compression =
            |at: usize| Compression::ALL.get(usize::from(bytes[at])).copied().unwrap_or(Compression::Unknown);
        Ok(Header {
            root,
            metadata,
            leaves,
            tiles,
            counts: [number(72), number(80), number(88)],
            clustered: bytes[96] == 1,
            internal: compression(97),
            tile_compression: compression(98),
            tile_type: TileType::ALL.get(usize::from(bytes[99])).copied().unwrap_or(TileType::Unknown),
            zooms: (bytes[100], bytes[101]),
            bounds: [degrees(102), degrees(106), degrees(110), degrees(114)],
            center: (bytes[118], degrees(119), degrees(123)),
        })
    }

    /// The bytes of the header.
    pub fn to_bytes(&self) -> [u8; LENGTH] {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(b"PMTiles\x03");
        for Section { offset, length } in [self.root, self.metadata, self.leaves, self.tiles] {
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        self.counts.iter().for_each(|count| bytes.extend_from_slice(&count.to_le_bytes()));
        bytes.push(u8::from(self.clustered));
        for compression in [self.internal, self.tile_compression] {
            bytes.push(compression as u8);
        }
        bytes.extend_from_slice(&[self.tile_type as u8, self.zooms.0, self.zooms.1]);
        self.bounds.iter().for_each(|degrees| bytes.extend_from_slice(&degrees.to_le_bytes()));
        let (zoom, longitude, latitude) = self.center;
        bytes.push(zoom);
        bytes.extend_from_slice(&longitude.to_le_bytes());
        bytes.extend_from_slice(&latitude.to_le_bytes());
        bytes.try_into().expect("these are the fields of a header")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back() {
        let section = |offset| Section { offset, length: 7 };
        let header = Header {
            root: section(127),
            metadata: section(200),
            leaves: section(300),
            tiles: section(400),
            counts: [3, 2, 1],
            clustered: true,
            internal: Compression::Gzip,
            tile_compression: Compression::Zstd,
            tile_type: TileType::Webp,
            zooms: (0, 14),
            bounds: [-1_800_000_000, -850_511_287, 1_800_000_000, 850_511_287],
            center: (3, 100_000_000, -500_000_000),
        };
        assert_eq!(Header::parse(&header.to_bytes()), Ok(header));
    }

    #[test]
    fn what_is_no_header_is_refused_with_a_reason() {
        let good = Header::default().to_bytes();
        assert!(Header::parse(&good[..126]).unwrap_err().to_string().contains("cut off"));
        assert!(Header::parse(&[b'x'; 200]).unwrap_err().to_string().contains("no PMTiles archive"));
        let mut second = good;
        second[7] = 2;
        assert!(Header::parse(&second).unwrap_err().to_string().contains("version 2"));
        let mut huge = good;
        huge[8..24].fill(0xff);
        assert!(Header::parse(&huge).is_err());
    }
}
