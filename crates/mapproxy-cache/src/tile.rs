//! A tile as services get it.

use std::time::SystemTime;

use bytes::Bytes;
use mapproxy_image::Codec;

/// An encoded tile.
#[derive(Clone, Debug)]
pub struct Tile {
    /// The file; `None`: there is nothing at this place (answered by a transparent tile).
    pub bytes: Option<Bytes>,
    /// When it was stored; `None`: not stored.
    pub modified: Option<SystemTime>,
    /// May be kept by clients and stores; `false` for stand-ins of failed sources.
    pub cacheable: bool,
}

impl Tile {
    /// Nothing here.
    pub const EMPTY: Tile = Tile { bytes: None, modified: None, cacheable: true };

    /// There was something here, but it is damaged, and nobody can make it anew: answered like an empty tile, but no
    /// client may take that for the truth.
    pub const LOST: Tile = Tile { bytes: None, modified: None, cacheable: false };

    /// What the bytes are.
    pub fn codec(&self) -> Option<Codec> {
        self.bytes.as_deref().and_then(Codec::sniff)
    }
}
