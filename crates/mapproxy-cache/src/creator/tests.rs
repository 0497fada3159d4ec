//! Tiles on their way into a cache, from sources made for the tests.

use std::sync::Barrier;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use mapproxy_grid::{Bbox, Coverage, Size};
use mapproxy_image::{Codec, Color, ImageFormat, ImageOptions, MapImage, PixelMode, Pixels};
use mapproxy_map::MapQuery;
use mapproxy_map::data::DataTile;
use mapproxy_map::dimension::{Dimension, DimensionOptions};

use super::*;
use crate::store::FileStore;
use crate::store::file::LinkSingleColor;
use crate::store::layout::Layout;
use crate::testkit::*;
use crate::{DataTiles, Permissions, RefreshBefore};

const TILE: TileCoord = TileCoord::new(5, 6, 4);

fn error_of(result: Result<Tile, MapError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_meta_tile_is_asked_for_once_and_its_tiles_are_kept() {
    let source = Arc::new(FakeSource::world());
    let cache = cache(&[&source]).build();
    let first = cache.load(TILE).unwrap();
    assert_eq!(cache.number_stored(), 16);
    for (x, y) in (4..8).flat_map(|x| (4..8).map(move |y| (x, y))) {
        let coord = TileCoord::new(x, y, 4);
        let tile = cache.load(coord).unwrap();
        assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(coord), 0);
    }
    let again = cache.load_kept(TILE).unwrap();
    assert_eq!((&again.bytes, again.modified), (&first.bytes, first.modified));
    assert!(first.modified.is_some(), "the first answer has the validators of the next");
    let asked = source.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].size, Size::new(1024 + 160, 1024 + 160));
}

#[test]
fn the_buffer_ends_at_the_edge_of_the_grid() {
    let source = Arc::new(FakeSource::world());
    let cache = cache(&[&source]).build();
    let coord = TileCoord::new(0, 0, 4);
    let tile = cache.load(coord).unwrap();
    assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(coord), 0);
    let asked = source.asked().remove(0);
    assert_eq!(asked.size, Size::new(1024 + 80, 1024 + 80));
    assert_eq!((asked.bbox.min_x, asked.bbox.min_y), (-HALF, -HALF));
}

#[test]
fn a_level_smaller_than_a_meta_tile_is_asked_for_as_it_is() {
    let source = Arc::new(FakeSource::world());
    let cache = cache(&[&source]).build();
    let coord = TileCoord::new(1, 0, 1);
    let tile = cache.load(coord).unwrap();
    assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(coord), 0);
    assert_eq!(source.asked()[0].size, Size::new(512, 512));
    assert_eq!(cache.number_stored(), 4);
}

#[test]
fn a_buffer_alone_makes_a_meta_tile_of_one_tile() {
    let source = Arc::new(FakeSource::world());
    let cache = cache(&[&source]).with(|options| options.creation.meta_size = (1, 1)).build();
    let tile = cache.load(TILE).unwrap();
    assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 0);
    assert_eq!(source.asked()[0].size, Size::new(416, 416));
    assert_eq!(cache.number_stored(), 1);
}

#[test]
fn a_stampede_asks_once_and_all_get_the_tile() {
    let source = Arc::new(FakeSource::new(|query| {
        std::thread::sleep(Duration::from_millis(150));
        Ok(Some(world(query)))
    }));
    let cache = cache(&[&source]).build();
    let start = Barrier::new(64);
    let tiles: Vec<Tile> = std::thread::scope(|scope| {
        // All tiles of one meta tile, four times each.
        let ask = |n: u32| {
            let (cache, start) = (&cache, &start);
            move || {
                start.wait();
                cache.load(TileCoord::new(4 + n % 4, 4 + n / 4 % 4, 4)).unwrap()
            }
        };
        let threads: Vec<_> = (0..64).map(|n| scope.spawn(ask(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(source.times_asked(), 1);
    for (n, tile) in tiles.iter().enumerate() {
        assert_eq!((&tile.bytes, tile.modified), (&tiles[n % 16].bytes, tiles[n % 16].modified));
    }
}

#[test]
fn those_who_waited_for_a_failure_do_not_ask_again() {
    let source = Arc::new(FakeSource::new(|_| {
        std::thread::sleep(Duration::from_millis(150));
        Err(upstream_error())
    }));
    let cache = cache(&[&source]).build();
    let start = Barrier::new(32);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                start.wait();
                assert!(error_of(cache.load(TILE)).contains("HTTP Error"));
            });
        }
    });
    assert_eq!(source.times_asked(), 1);
    cache.load(TILE).unwrap_err();
    assert_eq!(source.times_asked(), 2, "a later request tries anew");
}

#[test]
fn another_process_waits_and_finds_the_tile() {
    let source = Arc::new(FakeSource::new(|query| {
        std::thread::sleep(Duration::from_millis(100));
        Ok(Some(world(query)))
    }));
    let base = Arc::new(tempfile::tempdir().unwrap());
    let caches: Vec<_> = (0..4).map(|_| cache_in(Arc::clone(&base), &[&source]).build()).collect();
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        for cache in &caches {
            scope.spawn(|| {
                start.wait();
                assert!(cache.load(TILE).unwrap().bytes.is_some());
            });
        }
    });
    assert_eq!(source.times_asked(), 1);
    assert_eq!(files_below(&base.path().join("locks")), 0);
}

#[test]
fn requests_for_different_meta_tiles_are_all_in_flight_at_once() {
    let all = Arc::new(Barrier::new(16));
    let source = {
        let all = Arc::clone(&all);
        // Each waits inside of the source until all others are there, too.
        Arc::new(FakeSource::new(move |query| {
            all.wait();
            Ok(Some(world(query)))
        }))
    };
    let cache = cache(&[&source]).build();
    std::thread::scope(|scope| {
        for n in 0..16 {
            let cache = &cache;
            scope.spawn(move || cache.load(TileCoord::new(n % 4 * 4, n / 4 * 4, 4)).unwrap());
        }
    });
    assert_eq!(source.times_asked(), 16);
}

#[test]
fn one_request_makes_several_meta_tiles_at_once_but_not_too_many() {
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let source = {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        Arc::new(FakeSource::new(move |query| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(60));
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(Some(world(query)))
        }))
    };
    let cache = cache(&[&source]).build();
    let coords: Vec<_> = (0..4).map(|n| Some(TileCoord::new(n * 4, 0, 4))).collect();
    let tiles = cache.manager.load_many(&coords, &no_dimensions(), Purpose::Serve).unwrap();
    assert!(tiles.iter().all(|tile| tile.bytes.is_some()));
    assert_eq!((source.times_asked(), most.load(Ordering::SeqCst)), (4, 2));
}

#[test]
fn missing_tiles_of_a_map_can_be_one_request() {
    let source = Arc::new(FakeSource::world());
    let cache = cache(&[&source]).with(|options| options.creation.minimize_meta_requests = true).build();
    let coords = [(3, 3), (4, 3), (3, 4), (4, 4)].map(|(x, y)| Some(TileCoord::new(x, y, 4)));
    let tiles = cache.manager.load_many(&coords, &no_dimensions(), Purpose::Serve).unwrap();
    for (tile, coord) in tiles.into_iter().zip(coords) {
        assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(coord.unwrap()), 0);
    }
    let asked = source.asked();
    assert_eq!((asked.len(), asked[0].size), (1, Size::new(672, 672)));
    assert_eq!(cache.number_stored(), 4);
}

#[test]
fn a_single_tile_is_kept_as_its_source_gave_it() {
    let bytes = png(&world_pixels(&grid().tile_bbox(TILE), Size::new(256, 256)));
    let source = Arc::new(FakeSource::file(bytes.clone()).of_tiles());
    let cache = cache(&[&source]).build();
    assert_eq!(cache.load(TILE).unwrap().bytes, Some(bytes.clone()));
    assert_eq!(cache.stored(TILE).unwrap(), bytes);
    assert_eq!(cache.number_stored(), 1);
    assert_eq!(source.asked()[0].bbox, grid().tile_bbox(TILE));
}

#[test]
fn a_single_tile_of_another_format_is_converted() {
    let pixels = world_pixels(&grid().tile_bbox(TILE), Size::new(256, 256));
    let jpeg = mapproxy_image::codec::encode(&pixels, &ImageOptions::new(ImageFormat::jpeg()), None).unwrap();
    let source = Arc::new(FakeSource::file(jpeg.bytes).of_tiles());
    let cache = cache(&[&source]).build();
    let tile = cache.load(TILE).unwrap();
    assert_eq!(tile.codec(), Some(Codec::Png));
    assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 12);
}

#[test]
fn a_mixed_cache_keeps_the_jpegs_and_pngs_of_tile_sources_as_they_come() {
    let opaque = world_pixels(&grid().tile_bbox(TILE), Size::new(256, 256));
    let glass = Pixels::filled(Size::new(256, 256), PixelMode::Rgba, Color([200, 10, 10, 128]));
    let file = |pixels: &Pixels, name: &str| {
        let options = ImageOptions::new(ImageFormat::new(name)).with_transparent(pixels.has_transparency());
        mapproxy_image::codec::encode(pixels, &options, None).unwrap().bytes
    };
    // Maps are drawn for the cache: opaque ones become JPEG. `None`: as it came.
    for (bytes, of_tiles, becomes) in [
        (file(&opaque, "image/jpeg"), true, None),
        (file(&opaque, "image/png"), true, None),
        (file(&glass, "image/png"), true, None),
        (file(&opaque, "image/gif"), true, Some(Codec::Jpeg)),
        (file(&opaque, "image/jpeg"), false, None),
        (file(&opaque, "image/png"), false, Some(Codec::Jpeg)),
        (file(&glass, "image/png"), false, None),
    ] {
        let came_as = Codec::sniff(&bytes);
        let source = FakeSource::file(bytes.clone());
        let source = Arc::new(if of_tiles { source.of_tiles() } else { source });
        let cache = cache(&[&source]).with(|options| {
            options.image = Arc::new(ImageOptions::new(ImageFormat::new("mixed")).with_transparent(true));
            (options.creation.meta_size, options.creation.meta_buffer) = ((1, 1), 0);
        });
        let tile = cache.build().load(TILE).unwrap();
        match becomes {
            None => assert_eq!(tile.bytes, Some(bytes), "{came_as:?} of tiles: {of_tiles}"),
            Some(codec) => assert_eq!(tile.codec(), Some(codec), "{came_as:?} of tiles: {of_tiles}"),
        }
    }
}

#[test]
fn what_is_no_whole_picture_of_a_tile_is_never_kept() {
    let whole = png(&world_pixels(&grid().tile_bbox(TILE), Size::new(256, 256)));
    let small = png(&world_pixels(&grid().tile_bbox(TILE), Size::new(255, 256)));
    let html = Bytes::from_static(b"<html><body>Service Unavailable</body></html>");
    for bytes in [whole.slice(..whole.len() / 2), Bytes::new(), html, small, Bytes::from_static(b"\x89PNG\r\n\x1a\n")] {
        for of_tiles in [true, false] {
            let source = FakeSource::file(bytes.clone());
            let source = Arc::new(if of_tiles { source.of_tiles() } else { source });
            let cache = cache(&[&source]).build();
            let error = cache.load(TILE).unwrap_err();
            assert!(matches!(error, MapError::Image { .. }), "{error}");
            assert_eq!(cache.number_stored(), 0);
        }
    }
}

#[test]
fn tile_sources_can_be_asked_for_a_whole_meta_tile() {
    let source = Arc::new(FakeSource::world().of_tiles());
    let cache = cache(&[&source]).with(|options| options.creation.bulk_meta_tiles = true).build();
    let tile = cache.load(TILE).unwrap();
    assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 0);
    assert_eq!((source.times_asked(), cache.number_stored()), (16, 16));
    assert_eq!(source.asked()[0].bbox, grid().tile_bbox(TILE), "the tile somebody waits for comes first");
}

#[test]
fn a_neighbour_that_fails_costs_a_bulk_tile_nothing() {
    let wanted = grid().tile_bbox(TILE);
    let source = Arc::new(
        FakeSource::new(move |query| if query.bbox == wanted { Ok(Some(world(query))) } else { Err(upstream_error()) })
            .of_tiles(),
    );
    let cache = cache(&[&source]).with(|options| options.creation.bulk_meta_tiles = true).build();
    assert!(cache.load(TILE).unwrap().bytes.is_some());
    assert_eq!(cache.number_stored(), 1);
    assert!(source.times_asked() <= 3, "a failing server is left alone");
    assert!(cache.load(TileCoord::new(4, 4, 4)).is_err());
}

#[test]
fn meta_tiles_of_tile_sources_and_others_together_are_refused() {
    let (boxes, tiles) = (Arc::new(FakeSource::world()), Arc::new(FakeSource::world().of_tiles()));
    let error = TileManager::new(cache(&[&boxes, &tiles]).options).unwrap_err();
    assert!(error.contains("meta tiling configured but not supported by all sources"), "{error}");
    let single = cache(&[&boxes, &tiles]).with(|options| {
        options.creation.meta_size = (1, 1);
        options.creation.meta_buffer = 0;
    });
    assert!(single.build().load(TILE).unwrap().bytes.is_some());
}

#[test]
fn a_stand_in_for_a_failed_source_is_served_but_not_kept() {
    let source = Arc::new(FakeSource::new(|query| Ok(Some(world(query).with_cacheable(false)))));
    let cache = cache(&[&source]).build();
    let tile = cache.load(TILE).unwrap();
    assert!(tile.bytes.is_some() && !tile.cacheable && tile.modified.is_none());
    assert_eq!(cache.number_stored(), 0);
}

#[test]
fn where_a_source_has_nothing_nothing_is_kept() {
    let source = Arc::new(FakeSource::new(|_| Ok(None)));
    let cache = cache(&[&source]).build();
    assert!(cache.load(TILE).unwrap().bytes.is_none());
    assert_eq!(cache.number_stored(), 0);
}

#[test]
fn where_several_sources_have_nothing_an_empty_tile_is_kept() {
    let (below, above) = (Arc::new(FakeSource::new(|_| Ok(None))), Arc::new(FakeSource::new(|_| Ok(None))));
    let cache = cache(&[&below, &above]).build();
    assert!(cache.load(TILE).unwrap().bytes.is_some());
    assert_eq!(cache.number_stored(), 16);
}

#[test]
fn sources_are_asked_at_once_and_merged_bottom_to_top() {
    let both = Arc::new(Barrier::new(2));
    let solid = |color: Color| {
        let both = Arc::clone(&both);
        Arc::new(FakeSource::new(move |query| {
            both.wait();
            Ok(Some(MapImage::from_pixels(Pixels::filled(query.size, PixelMode::Rgb, color), options())))
        }))
    };
    let cache = cache(&[&solid(Color::rgb(255, 0, 0)), &solid(Color::rgb(0, 0, 255))]).build();
    let tile = cache.load(TILE).unwrap();
    assert_eq!(decode(&tile.bytes.unwrap()).pixel(100, 100), [0, 0, 255, 255]);
}

#[test]
fn one_failing_source_of_several_fails_the_tile() {
    let (good, bad) = (Arc::new(FakeSource::world()), Arc::new(FakeSource::failing()));
    let cache = cache(&[&good, &bad]).build();
    assert!(error_of(cache.load(TILE)).contains("HTTP Error"));
    assert_eq!(cache.number_stored(), 0);
}

#[test]
fn a_full_disk_costs_a_client_nothing_but_stops_a_seed() {
    let source = Arc::new(FakeSource::world());
    let cache = cache(&[&source]).with(|options| options.store = Some(Arc::new(FullStore))).build();
    let tile = cache.load(TILE).unwrap();
    assert!(tile.bytes.is_some() && tile.modified.is_none());
    let seeded = cache.manager.load_many(&[Some(TILE)], &no_dimensions(), Purpose::Seed);
    assert!(matches!(seeded, Err(MapError::Store { .. })));
}

#[test]
fn what_a_process_left_behind_that_died_is_swept_away() {
    let source = Arc::new(FakeSource::world());
    let cache = cache(&[&source]).build();
    let (dead, alive) = (cache.directory.join("4/5/7.png.tmp-dEaD01"), cache.directory.join("4/9/7.png.tmp-aLiVe1"));
    for path in [&dead, &alive] {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "half a tile").unwrap();
    }
    let locker = cache.manager.options.locker.as_ref().unwrap();
    std::fs::create_dir_all(&locker.directory).unwrap();
    std::fs::write(locker.path(TileCoord::new(4, 4, 4), &no_dimensions()), " 1\n").unwrap();
    cache.load(TILE).unwrap();
    assert!(!dead.exists() && alive.exists());

    let stale = locker.path(TileCoord::new(8, 4, 4), &no_dimensions());
    std::fs::write(&stale, " 1\n").unwrap();
    let file = std::fs::File::options().write(true).open(&stale).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    for x in 0..LOCKS_PER_CLEANING {
        cache.load(TileCoord::new(x * 4, 0, 8)).unwrap();
    }
    assert!(!alive.exists() && !stale.exists());
}

#[test]
fn where_no_lock_can_be_made_tiles_are_made_without() {
    let source = Arc::new(FakeSource::world());
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("file"), "").unwrap();
    let directory = base.path().join("file/locks");
    let cache = cache(&[&source]).with(|options| options.locker.as_mut().unwrap().directory = directory).build();
    assert!(cache.load(TILE).unwrap().bytes.is_some());
    assert_eq!((source.times_asked(), cache.number_stored()), (1, 16));
}

/// Has vector tiles: one with a layer called `roads` in the west, nothing in the east; fails beyond level 10.
#[derive(Debug)]
struct FakeData(mapproxy_map::SourceProfile, AtomicU32);

const VECTOR: &[u8] = b"\x1a\x0c\x0a\x05roads\x28\x80\x20\x78\x02";

impl mapproxy_map::data::DataSource for FakeData {
    fn profile(&self) -> &mapproxy_map::SourceProfile {
        &self.0
    }
    fn data(&self, query: &MapQuery, format: &mapproxy_map::data::DataFormat) -> Result<DataTile, MapError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        assert_eq!(format.extension(), "pbf");
        match (query.bbox.min_x < 0.0, query.resolution() > 100.0) {
            (true, true) => Ok(DataTile { bytes: Some(Bytes::from_static(VECTOR)), cacheable: true }),
            (true, false) => Err(upstream_error()),
            (false, true) => Ok(DataTile::EMPTY),
            (false, false) => Ok(DataTile { bytes: None, cacheable: false }),
        }
    }
}

#[test]
fn tiles_of_data_are_kept_as_they_come_and_checked_when_they_are_read() {
    let source = Arc::new(FakeData(mapproxy_map::SourceProfile::new("data", options()), AtomicU32::new(0)));
    let format = mapproxy_map::data::DataFormat::named("pbf").unwrap();
    let data = DataTiles { format, source: Some(Arc::clone(&source) as _) };
    let cache = cache(&[]).with(|options| options.data = Some(data.clone())).build();
    for _ in 0..2 {
        let tile = cache.load(TILE).unwrap();
        assert_eq!((tile.bytes.as_deref(), tile.modified.is_some()), (Some(VECTOR), true));
    }
    assert_eq!(source.1.load(Ordering::SeqCst), 1);
    assert_eq!(cache.load_kept(TILE).unwrap().bytes.as_deref(), Some(VECTOR));
    cache.put(TILE, &VECTOR[..9]);
    assert!(cache.load_kept(TILE).is_none());
    assert_eq!(cache.load(TILE).unwrap().bytes.as_deref(), Some(VECTOR));

    let east = cache.load(TileCoord::new(9, 6, 4)).unwrap();
    assert!(east.bytes.is_none() && east.cacheable);
    assert!(cache.load(TileCoord::new(1, 1, 11)).is_err());
    let stand_in = cache.load(TileCoord::new(2000, 1, 11)).unwrap();
    assert!(stand_in.bytes.is_none() && !stand_in.cacheable);
    assert_eq!(cache.number_stored(), 1);

    let marked = self::cache(&[]).with(|options| {
        options.data = Some(data);
        options.rescaling = Some(crate::Rescaling::Up(1));
    });
    assert!(TileManager::new(marked.options).unwrap_err().contains("pbf tiles are passed on as they are"));
}

#[test]
fn without_storage_each_request_asks() {
    let source = Arc::new(FakeSource::world());
    let cache = cache(&[&source])
        .with(|options| {
            options.store = None;
            options.locker = None;
        })
        .build();
    for _ in 0..2 {
        let tile = cache.load(TILE).unwrap();
        assert_shows_world(&decode(&tile.bytes.unwrap()), &grid().tile_bbox(TILE), 0);
    }
    assert_eq!((source.times_asked(), cache.number_stored()), (2, 0));
}

#[test]
fn an_old_tile_is_made_anew_and_served_while_its_source_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let source = {
        let fails = Arc::clone(&fails);
        Arc::new(FakeSource::new(move |query| {
            if fails.load(Ordering::SeqCst) { Err(upstream_error()) } else { Ok(Some(world(query))) }
        }))
    };
    let cache = cache(&[&source])
        .with(|options| options.refresh_before = Some(RefreshBefore::Age(Duration::from_secs(3600))))
        .build();
    let make_old = || {
        let file = std::fs::File::options().write(true).open(cache.path(TILE)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    };
    cache.load(TILE).unwrap();
    assert!(cache.load_kept(TILE).is_some());
    make_old();
    assert!(cache.load_kept(TILE).is_none());
    let renewed = cache.load(TILE).unwrap();
    assert_eq!(source.times_asked(), 2);
    assert!(renewed.modified.unwrap().elapsed().unwrap() < Duration::from_secs(60));

    make_old();
    fails.store(true, Ordering::SeqCst);
    let old = cache.load(TILE).unwrap();
    assert_eq!(old.bytes, renewed.bytes);
    assert!(!old.cacheable, "nobody should keep a tile known to be too old");
    assert_eq!(source.times_asked(), 3);
    assert!(cache.load(TileCoord::new(0, 0, 4)).is_err(), "there is no old tile here");
}

#[test]
fn only_tiles_meeting_the_coverage_are_asked_for() {
    let source = Arc::new(FakeSource::world());
    let north_east = Coverage::from_bbox(Bbox::new(1.0, 1.0, HALF, HALF), grid().srs().clone());
    let cache = cache(&[&source]).with(|options| options.coverage = Some(north_east)).build();
    let outside = TileCoord::new(1, 1, 4);
    assert!(cache.load_kept(outside).unwrap().bytes.is_none());
    assert!(cache.load(outside).unwrap().bytes.is_none());
    assert_eq!(source.times_asked(), 0);
    assert!(cache.load(TileCoord::new(8, 8, 4)).unwrap().bytes.is_some());
    assert_eq!(source.times_asked(), 1);
}

#[test]
fn dimensions_are_asked_for_and_kept_apart() {
    let source = Arc::new(FakeSource::world());
    let values = vec!["2020".to_owned(), "2021".to_owned()];
    let years = Dimension::new(&DimensionOptions { name: "time".to_owned(), values, ..Default::default() });
    let years = Arc::new(years.unwrap());
    let cache = cache(&[&source]).with(|options| options.announced = vec![years]).build();
    let dated = |time: &str| Dimensions::from([("time".to_owned(), time.to_owned())]);
    for time in ["2020", "2021", "2020", "2022", "2022", "../.."] {
        assert!(cache.manager.load(TILE, &dated(time)).unwrap().bytes.is_some());
    }
    let times: Vec<_> = source.asked().iter().map(|query| query.dimensions[0].1.clone()).collect();
    assert_eq!(times, ["2020", "2021", "2022", "2022", "../.."], "what nobody announces is not kept");
    let kept: Vec<_> = std::fs::read_dir(&cache.directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(kept.iter().all(|name| name == "time-2020" || name == "time-2021" || name == "tile_locks"), "{kept:?}");
    assert!(cache.directory.join("time-2020/4/5/6.png").exists());
}

#[test]
fn tiles_of_one_color_are_linked() {
    let red = Color::rgb(255, 1, 5);
    let source = Arc::new(FakeSource::new(move |query| {
        Ok(Some(MapImage::from_pixels(Pixels::filled(query.size, PixelMode::Rgb, red), options())))
    }));
    let base = tempfile::tempdir().unwrap();
    let store = FileStore {
        directory: base.path().to_owned(),
        extension: "png".to_owned(),
        layout: Layout::Tms,
        link_single_color: LinkSingleColor::Symlink,
        permissions: Permissions::default(),
    };
    let cache = cache(&[&source]).with(|options| options.store = Some(Arc::new(store))).build();
    let made = cache.load(TILE).unwrap();
    let link = std::fs::read_link(base.path().join("4/5/6.png")).unwrap();
    assert_eq!(link, std::path::Path::new("../../single_color_tiles/ff0105.png"));
    assert_eq!(cache.load_kept(TILE).unwrap().modified, made.modified);
}

#[test]
fn a_tile_removed_from_a_meta_tile_comes_back() {
    let source = Arc::new(FakeSource::world());
    let cache = cache(&[&source]).build();
    let neighbour = TileCoord::new(4, 7, 4);
    cache.load(TILE).unwrap();
    std::fs::remove_file(cache.path(neighbour)).unwrap();
    assert!(cache.load(neighbour).unwrap().bytes.is_some());
    assert_eq!((source.times_asked(), cache.number_stored()), (2, 16));
}

#[test]
fn another_process_makes_tiles_where_there_is_one() {
    let source = Arc::new(FakeSource::world());
    let base = Arc::new(tempfile::tempdir().unwrap());
    // The other one: makes what it is asked for, in the same directory.
    let other = cache_in(Arc::clone(&base), &[&source]).build();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let client = {
        let asked = Arc::clone(&asked);
        mapproxy_client::testkit::ScriptedClient::new(move |request| {
            let body = String::from_utf8(request.body.clone().unwrap().to_vec()).unwrap();
            asked.lock().unwrap().push(body);
            other.load(TileCoord::new(4, 4, 4)).unwrap();
            Ok(mapproxy_client::testkit::response("application/json", r#"{"status": "ok"}"#))
        })
    };
    let own = Arc::new(FakeSource::failing());
    let renderd = crate::Renderd::new("http://renderd".to_owned(), Arc::new(client));
    let cache = cache_in(base, &[&own]).with(|options| options.renderd = Some(renderd)).build();
    assert!(cache.load(TILE).unwrap().bytes.is_some());
    assert!(cache.load(TileCoord::new(4, 7, 4)).unwrap().bytes.is_some());
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 1, "its neighbour was made with it");
    assert!(asked[0].contains(r#""tiles": [[4, 4, 4]], "cache_identifier": "test_test""#), "{asked:?}");
    assert_eq!((own.times_asked(), source.times_asked()), (0, 1));
}
