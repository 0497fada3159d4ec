//! What an upstream server may send, or a cache hold, as a picture: decoding it may fail, but neither panic nor take more
//! memory than the limit allows. Whether the file is whole is told without decoding, and only of files of a known kind.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mapproxy_image::{Codec, codec};
use mapproxy_map::data::DataFormat;

const MAX_PIXELS: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    if let Ok(codec) = codec::whole(data) {
        assert_eq!(Codec::sniff(data), Some(codec));
    }
    for name in ["mvt", "json", "terrain"] {
        let format = DataFormat::named(name).expect("the format is known");
        assert!(format.check(data).is_err() || !data.is_empty());
    }
    let header = codec::header(data);
    if let Ok(pixels) = codec::decode(data, MAX_PIXELS) {
        let size = pixels.size();
        assert!(u64::from(size.width) * u64::from(size.height) <= MAX_PIXELS);
        let header = header.expect("what can be decoded has a header");
        assert_eq!(header.size, size);
    }
});
