//! scratch
use mapproxy_cache::store::file::LinkSingleColor;
use mapproxy_cache::store::layout::Layout;
use mapproxy_cache::store::{FileStore, SingleColor, TileData, TileStore};
use mapproxy_cache::{Permissions, TileKey, TileLocker};
use mapproxy_grid::TileCoord;
use std::path::PathBuf;
use std::time::{Duration, Instant};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n = |i: usize| a[i].parse::<u32>().unwrap();
    if a[1] == "lock" {
        let l = TileLocker {
            directory: PathBuf::from(&a[2]),
            cache_id: a[3].clone(),
            timeout: Duration::from_secs(5),
            permissions: Permissions::default(),
        };
        let t = Instant::now();
        let g = l.lock(TileCoord::new(n(4), n(5), n(6) as u8), &Default::default());
        println!("{:?} after {:?}", g.as_ref().map(|_| "locked"), t.elapsed());
        std::thread::sleep(Duration::from_millis(a[7].parse().unwrap()));
        return;
    }
    let link = match a[4].as_str() {
        "symlink" => LinkSingleColor::Symlink,
        "hardlink" => LinkSingleColor::Hardlink,
        _ => LinkSingleColor::Off,
    };
    let s = FileStore {
        directory: PathBuf::from(&a[2]),
        extension: "png".into(),
        layout: Layout::from_name(&a[3]).unwrap(),
        link_single_color: link,
        permissions: Permissions::default(),
    };
    let mut key = TileKey::new(TileCoord::new(n(5), n(6), n(7) as u8));
    if a[1] == "store" {
        let bytes = std::fs::read(&a[8]).unwrap();
        let color = a.get(9).map(|c| {
            let v = u32::from_str_radix(c, 16).unwrap();
            SingleColor::Rgb([(v >> 16) as u8, (v >> 8) as u8, v as u8])
        });
        s.store(&key, &TileData { bytes: bytes.into(), single_color: color }).unwrap();
    } else if a[1] == "bench" {
        let count = n(8);
        let t = Instant::now();
        let mut sum = 0;
        for i in 0..count {
            key.coord.x = i % 64;
            sum += s.load(&key).unwrap().map_or(0, |t| t.bytes.len());
        }
        println!("{:?} a load, {} bytes", t.elapsed() / count, sum / count as usize);
    } else {
        match s.load(&key).unwrap() {
            Some(t) => {
                std::fs::write(&a[8], &t.bytes).unwrap();
                println!("{} {:?}", t.meta.size, t.meta.modified)
            }
            None => println!("missing"),
        }
    }
}
