//! Caches: which sources, in which grids, kept where.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::coverage::Coverage;
use super::image::{Color, ImageOptions};
use super::stores::CacheStore;
use super::{Name, SourceRef};
use crate::position::Origin;

/// Keeps the tiles of its sources.
#[derive(Debug, Clone)]
pub struct Cache {
    /// The key in `caches`.
    pub name: Name,
    /// Where it was written.
    pub at: Origin,
    /// `sources`, the lowest first; empty for a cache that is only read.
    pub sources: Vec<SourceRef>,
    /// The bands of `sources` make up the picture, in place of the pictures laid over each other.
    pub bands: Option<Bands>,
    /// `grids`: at least one, each with what depends on it.
    pub grids: Vec<CacheGrid>,
    /// `format`: what tiles are stored as.
    pub format: CacheFormat,
    /// `request_format`: media type to ask sources for; that of `format` if unset.
    pub request_format: Arc<str>,
    /// `image` over what the named format says over what the sources say.
    pub image: ImageOptions,
    /// `meta_size`: how many tiles to fetch at once, as `[columns, rows]`. Default 4 × 4.
    pub meta_size: [u32; 2],
    /// `meta_buffer`: pixels around a meta tile. Default 80.
    pub meta_buffer: u32,
    /// `bulk_meta_tiles`: store all tiles of a meta tile from sources of tiles, too.
    pub bulk_meta_tiles: bool,
    /// `minimize_meta_requests`: ask only for the missing part.
    pub minimize_meta_requests: bool,
    /// `concurrent_tile_creators`. Default 2.
    pub concurrent_tile_creators: u32,
    /// `max_tile_limit`: how many tiles one WMS request may need. Default 500.
    pub max_tile_limit: u32,
    /// `use_direct_from_level` or `use_direct_from_res`: from where on WMS requests go straight to the source.
    pub use_direct_from: Option<UseDirectFrom>,
    /// `link_single_color_images`: keep one file for all tiles of one colour.
    pub link_single_color_images: Option<SingleColorLink>,
    /// `upscale_tiles` or `downscale_tiles`.
    pub rescale: Option<Rescale>,
    /// `watermark`: text drawn on new tiles.
    pub watermark: Option<Watermark>,
    /// `refresh_before`: tiles not younger than this are fetched again.
    pub refresh_before: Option<RefreshBefore>,
    /// `cache.coverage`: tiles outside it are not made.
    pub coverage: Option<Coverage>,
    /// Directory of the tile locks.
    pub tile_lock_dir: PathBuf,
    /// Permissions of directories and files made by this cache.
    pub permissions: Permissions,
}

/// How the bands of a picture are made of bands of sources: `sources: {r: […], g: […], b: […]}`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bands {
    /// What the picture has: grey (`l`) in place of red, green and blue.
    pub grey: bool,
    /// What the picture has: alpha (`a`).
    pub alpha: bool,
    /// What goes where, in this order.
    pub parts: Vec<BandPart>,
}

/// A band of a source that goes into a band of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BandPart {
    /// The band of the picture: 0 to 3 for red (or grey), green, blue, alpha.
    pub target: u8,
    /// The source's place in [`Cache::sources`].
    pub source: usize,
    /// `band`: 0 to 3, of the source.
    pub band: u8,
    /// `factor`: that much of it is added; 1 puts it in place of what was there. Default 1.
    pub factor: f64,
}

/// A grid of a cache.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheGrid {
    /// Key of the grid in [`Config::grids`](super::Config::grids).
    pub grid: Name,
    /// Where the tiles of this grid are kept.
    pub store: CacheStore,
}

impl Cache {
    /// Whether tiles are kept (there is no `disable_storage`).
    pub fn is_kept(&self) -> bool {
        self.grids.iter().any(|grid| grid.store != CacheStore::Disabled)
    }
}

/// The format of the tiles in a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFormat {
    /// `format` as written: media type, name of a format in `globals.image.formats`, or `mixed`.
    pub name: Arc<str>,
    /// Media type, `image/png` for `mixed`.
    pub mime: Arc<str>,
    /// File extension such as `png`, `jpeg`, `mixed`.
    pub extension: Arc<str>,
    /// Whether opaque tiles are stored as JPEG and all others as PNG.
    pub mixed: bool,
    /// Whether the tiles are no pictures: passed on as they come.
    pub data: bool,
}

/// Permissions of what a cache makes, as `chmod` takes them; `None` leaves it to the umask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// `directory_permissions`.
    pub directories: Option<u32>,
    /// `file_permissions`.
    pub files: Option<u32>,
}

/// From where on WMS requests go straight to the source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UseDirectFrom {
    /// From the resolution of this level of the first grid on.
    Level(u32),
    /// From this resolution on, in units of the first grid.
    Res(f64),
}

/// How tiles of one colour share a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SingleColorLink {
    /// By symbolic links (`true` or `symlink`).
    Symlink,
    /// By hard links (`hardlink`).
    Hardlink,
}

/// Make missing tiles from other levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rescale {
    /// From where.
    pub from: RescaleFrom,
    /// How many levels to look at.
    pub levels: u32,
    /// `cache_rescaled_tiles`: whether to store the result.
    pub store: bool,
}

/// Which levels tiles are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RescaleFrom {
    /// `upscale_tiles`: from coarser levels.
    Coarser,
    /// `downscale_tiles`: from finer levels.
    Finer,
}

/// A text drawn on tiles.
#[derive(Debug, Clone, PartialEq)]
pub struct Watermark {
    /// `text`.
    pub text: String,
    /// `font_size`, in pixels. Default 24.
    pub font_size: f64,
    /// `color`. Default a middle grey.
    pub color: Color,
    /// `opacity`, from 0 to 255. Default 30.
    pub opacity: u8,
    /// `spacing: wide`: on each second tile only.
    pub wide: bool,
}

/// A point in time that may move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshBefore {
    /// So long before the moment of asking (`weeks`, `days`, `hours`, `minutes`, `seconds`, summed up).
    Age(Duration),
    /// `time`.
    Time(SystemTime),
    /// `mtime`: when this file (absolute) was last changed.
    FileTime(PathBuf),
}
