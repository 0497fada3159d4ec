//! The area that something covers.

use crate::{Bbox, Srs, TransformError};

/// A box with its SRS.
#[derive(Clone, Debug, PartialEq)]
pub struct MapExtent {
    /// The box, in units of `srs`.
    pub bbox: Bbox,
    /// The SRS of `bbox`.
    pub srs: Srs,
}

impl MapExtent {
    /// The box `bbox` in `srs`.
    pub fn new(bbox: Bbox, srs: Srs) -> Self {
        MapExtent { bbox, srs }
    }

    /// The whole world in `EPSG:4326`.
    pub fn world() -> Self {
        MapExtent::new(Bbox::new(-180.0, -90.0, 180.0, 90.0), Srs::wgs84())
    }

    /// The box in `srs`.
    pub fn bbox_in(&self, srs: &Srs) -> Result<Bbox, TransformError> {
        if *srs == self.srs { Ok(self.bbox) } else { self.srs.transform_bbox(srs, &self.bbox) }
    }

    /// `bbox` lies inside, compared in the extent's SRS.
    pub fn contains(&self, bbox: &Bbox, srs: &Srs) -> Result<bool, TransformError> {
        let bbox = if *srs == self.srs { *bbox } else { srs.transform_bbox(&self.srs, bbox)? };
        Ok(self.bbox.contains(&bbox))
    }

    /// The extent around both: in the common SRS, or in `EPSG:4326` where they differ.
    pub fn union(&self, other: &MapExtent) -> Result<MapExtent, TransformError> {
        if self.srs == other.srs {
            return Ok(MapExtent::new(self.bbox.union(&other.bbox), self.srs.clone()));
        }
        let wgs84 = Srs::wgs84();
        let bbox = self.bbox_in(&wgs84)?.union(&other.bbox_in(&wgs84)?);
        Ok(MapExtent::new(bbox, wgs84))
    }
}
