//! What an upstream server may send as a picture: decoding it may fail, but neither panic nor take more memory than the
//! limit allows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mapproxy_image::codec;

const MAX_PIXELS: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let header = codec::header(data);
    if let Ok(pixels) = codec::decode(data, MAX_PIXELS) {
        let size = pixels.size();
        assert!(u64::from(size.width) * u64::from(size.height) <= MAX_PIXELS);
        let header = header.expect("what can be decoded has a header");
        assert_eq!(header.size, size);
    }
});
