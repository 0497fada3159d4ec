//! FlatGeobuf, version 3: a header, an index (passed over: all features are wanted), features one after another.

use std::path::Path;

use crate::bytes::{Bytes, points};
use crate::condition::{Column, Condition, Kind, Unfit, Value};
use crate::flatbuffer::Table;
use crate::{Collector, Error, Found, Trouble, broken, is_query};

/// What the file begins with; the eighth byte is the patch level.
const MAGIC: [u8; 7] = [0x66, 0x67, 0x62, 0x03, 0x66, 0x67, 0x62];

/// Geometries in one geometry in another are followed this deep.
const MAX_DEPTH: u32 = 8;

/// The number of geometries that one feature may have. Parts are offsets, so many can lead to the same place.
const MAX_PARTS: usize = 1 << 22;

pub(crate) fn read(path: &Path, condition: Option<&str>) -> Result<Found, Trouble> {
    parse(path, &crate::bytes_of(path)?, condition)
}

pub(crate) fn parse(path: &Path, file: &[u8], condition: Option<&str>) -> Result<Found, Trouble> {
    let cut_off = || broken(path, "the file is cut off");
    if condition.is_some_and(is_query) {
        return Err(Trouble::Beyond("a query".to_owned()));
    }
    let mut bytes = Bytes::new(file);
    if bytes.array::<8>().is_none_or(|magic| magic[..7] != MAGIC) {
        return Err(broken(path, "no FlatGeobuf file of version 3").into());
    }
    let header = sized(&mut bytes).and_then(Table::root).ok_or_else(cut_off)?;
    let header = Header::of(&header);
    let condition = match condition {
        Some(condition) => Some(header.condition(condition)?),
        None => None,
    };
    bytes.take(header.index_size().ok_or_else(cut_off)?).ok_or_else(cut_off)?;
    let mut found = Collector::default();
    // How many points may still be taken: parts that share their points could otherwise claim more than there is.
    let mut points_left = file.len() / 16;
    let mut number = 0_u64;
    while bytes.left() > 0 && (header.features == 0 || number < header.features) {
        number += 1;
        let wrong = |what: &str| broken(path, format!("feature {number}: {what}"));
        let feature = sized(&mut bytes).ok_or_else(cut_off)?;
        let feature = Table::root(feature).ok_or_else(|| wrong("it is broken"))?;
        if let Some(condition) = &condition {
            if feature.tables(2).next().is_some() {
                return Err(Trouble::Beyond("a condition on features that have columns of their own".to_owned()));
            }
            let values = header
                .values(feature.vector(1, 1).unwrap_or_default())
                .ok_or_else(|| wrong("its attributes are broken"))?;
            if !condition.holds(|column| values.get(column).cloned().unwrap_or(Value::Null)) {
                continue;
            }
        }
        if let Some(geometry) = feature.table(0) {
            let mut parts_left = MAX_PARTS;
            let mut budget = Budget { points: &mut points_left, parts: &mut parts_left };
            collect(&geometry, header.geometry_type, &mut budget, &mut found, MAX_DEPTH)
                .map_err(|wrong_geometry| wrong_geometry.trouble(wrong))?;
        }
    }
    if number < header.features {
        return Err(cut_off().into());
    }
    Ok(found.found())
}

/// A buffer with its length before it.
fn sized<'a>(bytes: &mut Bytes<'a>) -> Option<&'a [u8]> {
    let length = bytes.u32_le()?;
    bytes.take(length as usize)
}

struct Header {
    geometry_type: u8,
    columns: Vec<(Column, u8)>,
    /// None is said.
    features: u64,
    node_size: u16,
}

impl Header {
    fn of(table: &Table<'_>) -> Header {
        let column = |column: Table<'_>| {
            let code = column.u8(1).unwrap_or(0);
            let kind = match code {
                0..=10 => Kind::Number,
                11 => Kind::Text,
                _ => Kind::Other,
            };
            (Column { name: column.text(0).unwrap_or_default().to_owned(), kind }, code)
        };
        Header {
            geometry_type: table.u8(2).unwrap_or(0),
            columns: table.tables(7).flatten().map(column).collect(),
            features: table.u64(8).unwrap_or(0),
            node_size: table.u16(9).unwrap_or(16),
        }
    }

    /// A packed tree: a leaf of 40 bytes for each feature, and nodes above them.
    fn index_size(&self) -> Option<usize> {
        let node = u64::from(self.node_size);
        if node < 2 || self.features == 0 {
            return Some(0);
        }
        let mut level = self.features;
        let mut nodes = level;
        while level > 1 {
            level = level.div_ceil(node);
            nodes = nodes.checked_add(level)?;
        }
        usize::try_from(nodes.checked_mul(40)?).ok()
    }

    fn condition(&self, text: &str) -> Result<Condition, Trouble> {
        let columns: Vec<Column> = self.columns.iter().map(|(column, _)| column.clone()).collect();
        Condition::new(text, &columns).map_err(|unfit| match unfit {
            Unfit::Beyond => Trouble::Beyond(format!("the condition `{text}`")),
            Unfit::Wrong(what) => Error::Condition { condition: text.to_owned(), what }.into(),
        })
    }

    /// The values of all columns: each is written with the number of its column before it.
    fn values<'a>(&self, properties: &'a [u8]) -> Option<Vec<Value<'a>>> {
        let mut values = vec![Value::Null; self.columns.len()];
        let mut bytes = Bytes::new(properties);
        while bytes.left() > 0 {
            let column = u16::from_le_bytes(bytes.array()?) as usize;
            let (_, code) = self.columns.get(column)?;
            values[column] = match code {
                0 => Value::Integer(i8::from_le_bytes(bytes.array()?).into()),
                1 | 2 => Value::Integer(bytes.u8()?.into()),
                3 => Value::Integer(i16::from_le_bytes(bytes.array()?).into()),
                4 => Value::Integer(u16::from_le_bytes(bytes.array()?).into()),
                5 => Value::Integer(i32::from_le_bytes(bytes.array()?).into()),
                6 => Value::Integer(bytes.u32_le()?.into()),
                7 => Value::Integer(i64::from_le_bytes(bytes.array()?)),
                8 => match u64::from_le_bytes(bytes.array()?) {
                    number if number <= i64::MAX as u64 => Value::Integer(number as i64),
                    number => Value::Real(number as f64),
                },
                9 => Value::Real(f32::from_le_bytes(bytes.array()?).into()),
                10 => Value::Real(f64::from_le_bytes(bytes.array()?)),
                11..=14 => {
                    let length = bytes.u32_le()?;
                    Value::Text(String::from_utf8_lossy(bytes.take(length as usize)?))
                }
                _ => return None,
            };
        }
        Some(values)
    }
}

struct Budget<'b> {
    points: &'b mut usize,
    parts: &'b mut usize,
}

use crate::wkb::Wrong;

fn collect(
    geometry: &Table<'_>,
    of_layer: u8,
    budget: &mut Budget<'_>,
    found: &mut Collector,
    depth: u32,
) -> Result<(), Wrong> {
    *budget.parts = budget.parts.checked_sub(1).ok_or(Wrong::Broken("it has too many parts"))?;
    let kind = if of_layer == 0 { geometry.u8(6).unwrap_or(0) } else { of_layer };
    match kind {
        1 => found.skip("POINT"),
        2 => found.skip("LINESTRING"),
        3 => found.polygons.push(polygon(geometry, budget)?),
        4 => found.skip("MULTIPOINT"),
        5 => found.skip("MULTILINESTRING"),
        6 => {
            let depth = depth.checked_sub(1).ok_or(Wrong::Broken("geometries are nested too deeply"))?;
            for part in geometry.tables(7) {
                collect(&part.ok_or(Wrong::Broken("a part is broken"))?, 3, budget, found, depth)?;
            }
        }
        7 => found.skip("GEOMETRYCOLLECTION"),
        8 | 9 | 11 | 13 => found.skip("CURVE"),
        10 | 12 | 14 => return Err(Wrong::Curved("a polygon with curves")),
        15..=17 => return Err(Wrong::Curved("a surface")),
        _ => return Err(Wrong::Broken("a geometry of an unknown kind")),
    }
    Ok(())
}

/// Rings are parts of one list of points; without ends, there is one.
fn polygon(geometry: &Table<'_>, budget: &mut Budget<'_>) -> Result<Vec<Vec<(f64, f64)>>, Wrong> {
    let coordinates = geometry.vector(1, 8).unwrap_or_default();
    let count = coordinates.len() / 16;
    *budget.points = budget.points.checked_sub(count).ok_or(Wrong::Broken("parts share their points"))?;
    let ends = geometry.vector(0, 4).unwrap_or_default();
    let (ends, _) = ends.as_chunks::<4>();
    if ends.is_empty() {
        return Ok(vec![points(coordinates).collect()]);
    }
    let mut start = 0;
    let ring = |end: &[u8; 4]| {
        let end = u32::from_le_bytes(*end) as usize;
        let ring = coordinates.get(start * 16..end.checked_mul(16)?)?;
        start = end;
        Some(points(ring).collect())
    };
    ends.iter().map(ring).collect::<Option<_>>().ok_or(Wrong::Broken("a ring ends where no point is"))
}
