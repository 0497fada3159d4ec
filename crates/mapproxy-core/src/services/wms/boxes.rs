//! The boxes of layers in capabilities: computed once, and once for layers of the same extent.

use std::collections::HashMap;
use std::sync::Arc;

use mapproxy_grid::{Bbox, MapExtent, Srs};

use super::WmsOptions;
use crate::MapLayer;

/// The boxes of one layer.
#[derive(Debug)]
pub(super) struct LayerBoxes {
    /// Longitude and latitude; never up to the poles, which web mercator clients cannot transform.
    pub(super) geographic: Bbox,
    /// By SRS, x/y order.
    pub(super) boxes: Vec<(Srs, Bbox)>,
}

/// What documents may announce of longitude and latitude.
const GEOGRAPHIC_LIMIT: Bbox = Bbox::new(-180.0, -89.999_999, 180.0, 89.999_999);

/// The boxes of all layers: each before its children, these in order.
pub(super) fn of_tree(options: &WmsOptions) -> Vec<Arc<LayerBoxes>> {
    let mut known = HashMap::new();
    let mut boxes = Vec::new();
    let mut todo = vec![&*options.root];
    while let Some(layer) = todo.pop() {
        boxes.push(of_layer(layer, options, &mut known));
        todo.extend(layer.children.iter().rev());
    }
    boxes
}

/// Extents compare by their bits.
type ExtentKey = Option<([u64; 4], String)>;

fn of_layer(
    layer: &MapLayer,
    options: &WmsOptions,
    known: &mut HashMap<ExtentKey, Arc<LayerBoxes>>,
) -> Arc<LayerBoxes> {
    let key = layer.extent.as_ref().map(|e| (e.bbox.to_array().map(f64::to_bits), e.srs.code().to_owned()));
    Arc::clone(known.entry(key).or_insert_with(|| Arc::new(LayerBoxes::new(layer.extent.as_ref(), options))))
}

impl LayerBoxes {
    fn new(extent: Option<&MapExtent>, options: &WmsOptions) -> LayerBoxes {
        let wgs84 = Srs::wgs84();
        let world = MapExtent::world();
        let whole = extent.unwrap_or(&world);
        let in_degrees = whole.bbox_in(&wgs84).ok();

        let limits: Vec<(&Srs, Option<Bbox>)> =
            options.bbox_srs.iter().map(|limited| (&limited.srs, limited.bbox)).collect();
        let limit_in_degrees = limits.iter().find(|(srs, _)| **srs == wgs84).and_then(|(_, bbox)| *bbox);
        let geographic = in_degrees.and_then(|bbox| bbox.intersection(&GEOGRAPHIC_LIMIT)).unwrap_or(GEOGRAPHIC_LIMIT);
        let geographic = limit_in_degrees.and_then(|limit| geographic.intersection(&limit)).unwrap_or(geographic);

        let mut boxes: Vec<(Srs, Bbox)> = Vec::new();
        let is_offered = |srs: &Srs| options.srs.iter().any(|offered| offered.code() == srs.code());
        for (srs, limit) in limits.into_iter().filter(|(srs, _)| is_offered(srs)) {
            let bbox = match (limit, extent) {
                (None, _) => whole.bbox_in(srs).ok(),
                (Some(limit), None) => Some(limit),
                (Some(limit), Some(_)) => in_degrees.and_then(|bbox| inside(&bbox, &limit, srs)),
            };
            // Where a box has no image in the SRS, nothing is said rather than nonsense.
            boxes.extend(bbox.filter(Bbox::is_valid).map(|bbox| (srs.clone(), bbox)));
        }
        let native = &whole.srs;
        let is_listed = options.bbox_srs.iter().any(|limited| limited.srs.code() == native.code());
        if !is_listed && is_offered(native) {
            boxes.push((native.clone(), whole.bbox));
        }
        LayerBoxes { geographic, boxes }
    }
}

/// The part of a box in degrees that is inside `limit`, in the SRS of the limit. Both are compared in degrees, where
/// any two boxes can be.
fn inside(in_degrees: &Bbox, limit: &Bbox, srs: &Srs) -> Option<Bbox> {
    let wgs84 = Srs::wgs84();
    let limit_in_degrees = MapExtent::new(*limit, srs.clone()).bbox_in(&wgs84).ok()?;
    let part = in_degrees.intersection(&limit_in_degrees)?;
    MapExtent::new(part, wgs84).bbox_in(srs).ok()
}
