//! Names of tile files: MapProxy's six directory layouts.

/// A directory layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Layout {
    /// TileCache: `01/000/000/001/000/000/002.png`.
    #[default]
    Tc,
    /// MapProxy: `01/0000/0001/0000/0002.png`.
    Mp,
    /// TMS: `1/1/2.png`.
    Tms,
    /// Row first: `2/1/1.png`.
    ReverseTms,
    /// One directory, named by quad key.
    Quadkey,
    /// ArcGIS exploded: `L01/R00000002/C00000001.png`.
    Arcgis,
}
