//! ESRI Shapefile (technical description of July 1998): polygons in `.shp`, where they begin in `.shx`, attributes and
//! which of them are deleted in `.dbf`.

mod dbf;

use std::path::{Path, PathBuf};

use crate::bytes::{Bytes, points};
use crate::condition::Unfit;
use crate::rings::organised;
use crate::{Collector, Error, Found, Trouble, broken, bytes_of, is_query};
use dbf::Dbf;

const HEADER: usize = 100;

pub(crate) fn read(path: &Path, condition: Option<&str>) -> Result<Found, Trouble> {
    let file = bytes_of(path)?;
    let index = beside(path, "shx").map(|path| bytes_of(&path)).transpose()?;
    let attributes = match beside(path, "dbf") {
        Some(path) => Some((bytes_of(&path)?, path)),
        None => None,
    };
    let encoding = beside(path, "cpg").map(|path| bytes_of(&path)).transpose()?;
    let encoding = encoding.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    let attributes = attributes.as_ref().map(|(bytes, path)| (&**path, &**bytes, encoding.as_deref()));
    parse(path, &file, index.as_deref(), attributes, condition)
}

/// The file of the same name with another ending, in lower or upper case.
fn beside(path: &Path, extension: &str) -> Option<PathBuf> {
    let endings = [extension.to_owned(), extension.to_ascii_uppercase()];
    endings.into_iter().map(|ending| path.with_extension(ending)).find(|path| path.is_file())
}

/// `attributes`: the path of the table, its bytes, and what its encoding is said to be.
pub(crate) fn parse(
    path: &Path,
    file: &[u8],
    index: Option<&[u8]>,
    attributes: Option<(&Path, &[u8], Option<&str>)>,
    condition: Option<&str>,
) -> Result<Found, Trouble> {
    let table = match attributes {
        Some((path, bytes, encoding)) => Some(Dbf::new(bytes, encoding).map_err(|what| broken(path, what))?),
        None => None,
    };
    let condition = match (condition, &table) {
        (None, _) => None,
        (Some(condition), _) if is_query(condition) => return Err(Trouble::Beyond("a query".to_owned())),
        (Some(condition), None) => {
            let what = format!("there is no {} beside the shapefile", path.with_extension("dbf").display());
            return Err(Error::Condition { condition: condition.to_owned(), what }.into());
        }
        (Some(text), Some(table)) => Some(table.condition(text).map_err(|unfit| match unfit {
            Unfit::Beyond => Trouble::Beyond(format!("the condition `{text}`")),
            Unfit::Wrong(what) => Error::Condition { condition: text.to_owned(), what }.into(),
        })?),
    };
    if file.get(..4) != Some(&9994_u32.to_be_bytes()) || file.len() < HEADER {
        return Err(broken(path, "no shapefile").into());
    }
    let starts = match index.and_then(starts) {
        Some(starts) => starts,
        None => starts_in_sequence(file),
    };
    let mut found = Collector::default();
    // An index can lead to the same record again and again.
    let mut bytes_left = file.len();
    for (number, start) in starts.into_iter().enumerate() {
        let wrong = |what: &str| broken(path, format!("record {}: {what}", number + 1));
        if let Some(table) = &table {
            if table.is_deleted(number) {
                continue;
            }
            if condition.as_ref().is_some_and(|condition| !condition.holds(|column| table.value(number, column))) {
                continue;
            }
        }
        let record = record_at(file, start).ok_or_else(|| wrong("the file is cut off"))?;
        bytes_left = bytes_left.checked_sub(record.len()).ok_or_else(|| wrong("records share their shapes"))?;
        collect(record, &mut found).map_err(|trouble| match trouble {
            Shape::Broken => wrong("its shape is broken").into(),
            Shape::Patches => Trouble::Beyond("a multipatch".to_owned()),
        })?;
    }
    Ok(found.found())
}

/// What an index says, in bytes.
fn starts(index: &[u8]) -> Option<Vec<usize>> {
    let records = index.get(HEADER..)?.chunks_exact(8);
    records.map(|record| Some(2 * Bytes::new(record).u32_be()? as usize)).collect()
}

fn starts_in_sequence(file: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = HEADER;
    while let Some(length) = file.get(at + 4..).and_then(|rest| Bytes::new(rest).u32_be()) {
        starts.push(at);
        at += 8 + 2 * length as usize;
    }
    starts
}

/// A record without its header.
fn record_at(file: &[u8], start: usize) -> Option<&[u8]> {
    let mut bytes = Bytes::new(file.get(start..)?);
    bytes.u32_be()?;
    let length = 2 * bytes.u32_be()? as usize;
    // The last record of some files says it is longer than it is.
    bytes.take(length.min(bytes.left()))
}

/// What may be wrong with a shape.
enum Shape {
    Broken,
    Patches,
}

fn collect(record: &[u8], found: &mut Collector) -> Result<(), Shape> {
    let mut bytes = Bytes::new(record);
    match bytes.u32_le().ok_or(Shape::Broken)? {
        0 => {}
        1 | 11 | 21 => found.skip("POINT"),
        3 | 13 | 23 => found.skip("LINESTRING"),
        5 | 15 | 25 => found.polygons.extend(organised(rings(bytes).ok_or(Shape::Broken)?)),
        8 | 18 | 28 => found.skip("MULTIPOINT"),
        31 => return Err(Shape::Patches),
        _ => return Err(Shape::Broken),
    }
    Ok(())
}

fn rings(mut bytes: Bytes<'_>) -> Option<Vec<Vec<(f64, f64)>>> {
    bytes.take(32)?; // the box
    let (parts, count) = (bytes.u32_le()? as usize, bytes.u32_le()? as usize);
    let (starts, _) = bytes.take(parts.checked_mul(4)?)?.as_chunks::<4>();
    let coordinates = bytes.take(count.checked_mul(16)?)?;
    let start = |index: usize| starts.get(index).map_or(count, |start| u32::from_le_bytes(*start) as usize);
    let ring = |part: usize| Some(points(coordinates.get(start(part) * 16..start(part + 1) * 16)?).collect());
    // Parts in another order than their points would share them.
    (0..parts).map(ring).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polygon_record(rings: &[&[(f64, f64)]]) -> Vec<u8> {
        let mut record = 5_u32.to_le_bytes().to_vec();
        record.extend([0; 32]);
        record.extend((rings.len() as u32).to_le_bytes());
        record.extend((rings.iter().map(|ring| ring.len()).sum::<usize>() as u32).to_le_bytes());
        let mut start = 0_u32;
        for ring in rings {
            record.extend(start.to_le_bytes());
            start += ring.len() as u32;
        }
        for (x, y) in rings.iter().flat_map(|ring| ring.iter()) {
            record.extend(x.to_le_bytes());
            record.extend(y.to_le_bytes());
        }
        record
    }

    fn shapefile(records: &[Vec<u8>]) -> Vec<u8> {
        let mut file = 9994_u32.to_be_bytes().to_vec();
        file.resize(HEADER, 0);
        for (number, record) in (1_u32..).zip(records) {
            file.extend(number.to_be_bytes());
            file.extend((record.len() as u32 / 2).to_be_bytes());
            file.extend(record);
        }
        file
    }

    const SQUARE: &[(f64, f64)] = &[(0.0, 0.0), (0.0, 9.0), (9.0, 9.0), (9.0, 0.0), (0.0, 0.0)];
    const HOLE: &[(f64, f64)] = &[(1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 2.0), (1.0, 1.0)];

    #[test]
    fn records_are_read_with_and_without_an_index() {
        let null = vec![0; 4];
        let file = shapefile(&[null, polygon_record(&[SQUARE, HOLE]), 1_u32.to_le_bytes().to_vec()]);
        let expected =
            Found::Polygons { polygons: vec![vec![SQUARE.to_vec(), HOLE.to_vec()]], skipped: vec!["POINT".to_owned()] };
        let path = Path::new("a.shp");
        assert_eq!(parse(path, &file, None, None, None).unwrap(), expected);
        let mut index = vec![0; HEADER];
        for start in [starts_in_sequence(&file)[1], starts_in_sequence(&file)[2]] {
            index.extend((start as u32 / 2).to_be_bytes());
            index.extend([0; 4]);
        }
        assert_eq!(parse(path, &file, Some(&index), None, None).unwrap(), expected);
    }

    #[test]
    fn broken_files_are_errors_that_name_the_record() {
        let path = Path::new("a.shp");
        let message = |file: &[u8], index: Option<&[u8]>| match parse(path, file, index, None, None) {
            Err(Trouble::Error(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(message(b"shape", None), "a.shp: no shapefile");
        let file = shapefile(&[polygon_record(&[SQUARE])]);
        assert_eq!(message(&file[..file.len() - 1], None), "a.shp: record 1: its shape is broken");
        let mut huge = file.clone();
        huge[HEADER + 8 + 36..HEADER + 8 + 40].fill(0xff);
        assert_eq!(message(&huge, None), "a.shp: record 1: its shape is broken");
        let mut index = vec![0; HEADER];
        index.extend([0xff; 8]);
        assert_eq!(message(&file, Some(&index)), "a.shp: record 1: the file is cut off");
        let condition = parse(path, &file, None, None, Some("a = 1"));
        assert!(matches!(condition, Err(Trouble::Error(Error::Condition { .. }))));
    }
}
