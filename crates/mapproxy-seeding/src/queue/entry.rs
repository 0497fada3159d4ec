//! A piece of work as text, short: queues hold thousands.
//!
//! `number z/x/y first columns×rows` where the tiles are a rectangle, as they nearly always are, and otherwise all tiles:
//! `17 4/8/4 8,7:4x-4` (rows count northwards), `18 4/8/4 8,7;9,7;8,6`.

use mapproxy_grid::TileCoord;

use crate::Work;

/// Tiles in a piece of work at most: nobody asks for larger meta tiles, and a text of a stranger must not take memory.
const MOST: u64 = 1 << 20;

pub(super) fn print(work: &Work) -> String {
    let Work { number, main, tiles } = work;
    let mut text = format!("{number} {}/{}/{} ", main.z, main.x, main.y);
    match rectangle(tiles) {
        Some((first, columns, rows)) => text.push_str(&format!("{},{}:{columns}x{rows}", first.x, first.y)),
        None => {
            let tiles: Vec<String> = tiles.iter().map(|tile| format!("{},{}", tile.x, tile.y)).collect();
            text.push_str(&tiles.join(";"));
        }
    }
    text
}

pub(super) fn parse(text: &str) -> Option<Work> {
    let mut parts = text.split(' ');
    let number = parts.next()?.parse().ok()?;
    let mut main = parts.next()?.split('/');
    let z = main.next()?.parse().ok()?;
    let main = TileCoord { z, x: main.next()?.parse().ok()?, y: main.next()?.parse().ok()? };
    let tiles = parts.next()?;
    if parts.next().is_some() {
        return None;
    }
    let tile = |text: &str| {
        let (x, y) = text.split_once(',')?;
        Some(TileCoord { x: x.parse().ok()?, y: y.parse().ok()?, z })
    };
    let tiles = match tiles.split_once(':') {
        None => tiles.split(';').map(tile).collect::<Option<_>>()?,
        Some((first, size)) => {
            let (columns, rows) = size.split_once('x')?;
            tiles_of(tile(first)?, columns.parse().ok()?, rows.parse().ok()?)?
        }
    };
    Some(Work { number, main, tiles })
}

/// The rectangle that the tiles are, if they are one row-wise: its first tile, columns, and rows (below zero where they
/// count northwards).
fn rectangle(tiles: &[TileCoord]) -> Option<(TileCoord, u32, i32)> {
    let first = *tiles.first()?;
    let columns = tiles.iter().take_while(|tile| tile.y == first.y).count();
    let rows = i32::try_from(tiles.len() / columns).ok()?;
    let is_downwards = tiles.get(columns).is_none_or(|below| below.y > first.y);
    let (columns, rows) = (u32::try_from(columns).ok()?, if is_downwards { rows } else { -rows });
    (tiles_of(first, columns, rows)? == tiles).then_some((first, columns, rows))
}

fn tiles_of(first: TileCoord, columns: u32, rows: i32) -> Option<Vec<TileCoord>> {
    if u64::from(columns) * u64::from(rows.unsigned_abs()) > MOST {
        return None;
    }
    let mut tiles = Vec::with_capacity((columns * rows.unsigned_abs()) as usize);
    for row in 0..rows.unsigned_abs() {
        let y = if rows > 0 { first.y.checked_add(row)? } else { first.y.checked_sub(row)? };
        for column in 0..columns {
            tiles.push(TileCoord { x: first.x.checked_add(column)?, y, z: first.z });
        }
    }
    Some(tiles)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn work(number: u64, z: u8, tiles: &[(u32, u32)]) -> Work {
        let tiles: Vec<_> = tiles.iter().map(|&(x, y)| TileCoord::new(x, y, z)).collect();
        Work { number, main: TileCoord::new(8, 4, z), tiles }
    }

    #[test]
    fn rectangles_are_short_and_anything_else_is_listed() {
        for (tiles, text) in [
            (vec![(8, 4), (9, 4), (8, 5), (9, 5)], "7 4/8/4 8,4:2x2"),
            (vec![(8, 5), (9, 5), (8, 4), (9, 4)], "7 4/8/4 8,5:2x-2"),
            (vec![(8, 4)], "7 4/8/4 8,4:1x1"),
            (vec![(8, 4), (8, 5)], "7 4/8/4 8,4:1x2"),
            (vec![(8, 4), (9, 4), (9, 5)], "7 4/8/4 8,4;9,4;9,5"),
            (vec![(8, 4), (9, 4), (8, 6), (9, 6)], "7 4/8/4 8,4;9,4;8,6;9,6"),
        ] {
            let work = work(7, 4, &tiles);
            assert_eq!(print(&work), text);
            assert_eq!(parse(text), Some(work));
        }
    }

    #[test]
    fn what_is_no_work_is_none() {
        for text in [
            "",
            "7",
            "7 4/8/4",
            "7 4/8/4 ",
            "7 4/8/4 8",
            "7 4/8/4 8,4:2",
            "7 4/8/4 8,4:99999999x99",
            "x 4/8/4 8,4:1x1",
            "7 4/8/4 8,0:2x-2",
            "7 4/8/4 4294967295,0:2x2",
            "7 400/8/4 8,4:1x1",
            "7 4/8/4 8,4:1x1 more",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn work_is_read_as_it_was_printed(
            number: u64, z in 0u8..30, x: u32, y: u32, tiles in prop::collection::vec((any::<u32>(), any::<u32>()), 1..20),
        ) {
            let mut work = work(number, z, &tiles);
            work.main = TileCoord::new(x, y, z);
            prop_assert_eq!(parse(&print(&work)), Some(work));
        }
    }
}
