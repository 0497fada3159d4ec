//! Deflate of runs: each byte either as it is or as "the last one again, so many times".
//!
//! Rows of palette indices are runs of areas of one colour and little else. Looking no farther back than one byte finds
//! nearly all there is to find in them, several times faster than a search through 32 kB, and the Huffman codes that
//! follow (RFC 1951, blocks with their own codes) do the rest. zlib has the same as its strategy `Z_RLE`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Symbols of a block at most: more make better use of one table, fewer follow the picture's changes.
const BLOCK: usize = 64 * 1024;

const END: usize = 256;
const LITERALS: usize = 286;
/// The only distance code: one byte back.
const DISTANCES: usize = 1;
const LONGEST_RUN: usize = 258;
const SHORTEST_RUN: usize = 3;

/// First length of each length code from 257 on, and the bits that follow it (RFC 1951, 3.2.5).
#[rustfmt::skip] // a table of pairs, one a line, hides their pattern
const LENGTHS: [(u16, u8); 29] = [
    (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1), (13, 1), (15, 1), (17, 1), (19, 2), (23, 2),
    (27, 2), (31, 2), (35, 3), (43, 3), (51, 3), (59, 3), (67, 4), (83, 4), (99, 4), (115, 4), (131, 5), (163, 5),
    (195, 5), (227, 5), (258, 0),
];

/// Order of the code lengths of code lengths (RFC 1951, 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Length code (from 257) of each run length.
static CODE_OF_LENGTH: [u16; LONGEST_RUN + 1] = {
    let mut codes = [0; LONGEST_RUN + 1];
    let mut code = 0;
    while code < LENGTHS.len() {
        let mut length = LENGTHS[code].0 as usize;
        while length <= LONGEST_RUN {
            codes[length] = 257 + code as u16;
            length += 1;
        }
        code += 1;
    }
    codes
};

/// A zlib stream (RFC 1950) of `data`.
pub(super) fn zlib(data: &[u8]) -> Vec<u8> {
    let mut out = Bits::new(data.len() / 16 + 64);
    out.bytes.extend([0x78, 0x5e]);
    let mut symbols = Vec::with_capacity(BLOCK + 1);
    let mut at = 0;
    while at < data.len() {
        at = collect(data, at, &mut symbols);
        block(&mut out, &symbols, at == data.len());
    }
    if data.is_empty() {
        symbols.clear();
        block(&mut out, &symbols, true);
    }
    let mut bytes = out.finish();
    bytes.extend(simd_adler32::adler32(&data).to_be_bytes());
    bytes
}

/// Fills `symbols` with bytes (0 to 255) and run lengths (256 more than the length) from `at` on; returns where it ended.
fn collect(data: &[u8], mut at: usize, symbols: &mut Vec<u16>) -> usize {
    symbols.clear();
    while at < data.len() && symbols.len() < BLOCK {
        let byte = data[at];
        symbols.push(u16::from(byte));
        at += 1;
        let mut run = equal(&data[at..], byte);
        at += run;
        while run >= SHORTEST_RUN {
            let mut part = run.min(LONGEST_RUN);
            // Leave no rest too short to be a run.
            if run > part && run - part < SHORTEST_RUN {
                part = run - SHORTEST_RUN;
            }
            symbols.push(256 + part as u16);
            run -= part;
        }
        symbols.extend(std::iter::repeat_n(u16::from(byte), run));
    }
    at
}

/// How many bytes from the first on are `byte`.
fn equal(data: &[u8], byte: u8) -> usize {
    let pattern = u64::from_ne_bytes([byte; 8]);
    let (words, rest) = data.as_chunks::<8>();
    let same = words.iter().take_while(|word| u64::from_ne_bytes(**word) == pattern).count();
    let tail = words.get(same).map_or(rest, |word| word);
    same * 8 + tail.iter().take_while(|other| **other == byte).count()
}

/// Writes one block with codes made for it.
fn block(out: &mut Bits, symbols: &[u16], last: bool) {
    let mut counts = [0u32; LITERALS];
    for &symbol in symbols {
        counts[literal(symbol)] += 1;
    }
    counts[END] = 1;
    let lengths = code_lengths(&counts, 15);
    let used = lengths.iter().rposition(|&length| length > 0).map_or(257, |at| (at + 1).max(257));
    out.put(u64::from(last), 1);
    out.put(2, 2);
    table(out, &lengths[..used]);
    let codes = codes(&lengths);
    // A literal's code, or that of a length with the bits that follow and the distance code (one bit, 0).
    let mut tokens = [(0u64, 0u32); 257 + LONGEST_RUN];
    for (symbol, token) in tokens.iter_mut().enumerate() {
        *token = match symbol.checked_sub(256) {
            None => (u64::from(codes[symbol]), u32::from(lengths[symbol])),
            Some(length @ SHORTEST_RUN..) => {
                let code = usize::from(CODE_OF_LENGTH[length]);
                let (first, extra) = LENGTHS[code - 257];
                let bits = u32::from(lengths[code]);
                let rest = (length - usize::from(first)) as u64;
                (u64::from(codes[code]) | rest << bits, bits + u32::from(extra) + 1)
            }
            Some(_) => (0, 0),
        };
    }
    for &symbol in symbols {
        let (bits, count) = tokens[usize::from(symbol)];
        out.put(bits, count);
    }
    out.put(u64::from(codes[END]), u32::from(lengths[END]));
}

/// The literal or length code of a symbol.
fn literal(symbol: u16) -> usize {
    match usize::from(symbol).checked_sub(256) {
        Some(length) => usize::from(CODE_OF_LENGTH[length]),
        None => usize::from(symbol),
    }
}

/// Writes the code lengths, themselves in runs and with codes (RFC 1951, 3.2.7).
fn table(out: &mut Bits, literals: &[u8]) {
    let mut lengths = literals.to_vec();
    lengths.extend([1; DISTANCES]);
    // Code, and value and count of the bits that follow.
    let mut runs: Vec<(usize, u64, u32)> = Vec::new();
    let mut at = 0;
    while at < lengths.len() {
        let value = lengths[at];
        let mut run = equal(&lengths[at..], value);
        at += run;
        if value != 0 {
            runs.push((usize::from(value), 0, 0));
            run -= 1;
        }
        while run > 0 {
            let (part, entry) = match (value, run) {
                (0, 11..) => (run.min(138), (18, run.min(138) as u64 - 11, 7)),
                (0, 3..) => (run, (17, run as u64 - 3, 3)),
                (1.., 3..) => (run.min(6), (16, run.min(6) as u64 - 3, 2)),
                _ => (1, (usize::from(value), 0, 0)),
            };
            runs.push(entry);
            run -= part;
        }
    }
    let mut counts = [0u32; 19];
    for (code, ..) in &runs {
        counts[*code] += 1;
    }
    let code_code_lengths = code_lengths(&counts, 7);
    let code_codes = codes(&code_code_lengths);
    let used = ORDER.iter().rposition(|&code| code_code_lengths[code] > 0).map_or(4, |at| (at + 1).max(4));
    out.put(literals.len() as u64 - 257, 5);
    out.put(DISTANCES as u64 - 1, 5);
    out.put(used as u64 - 4, 4);
    for &code in &ORDER[..used] {
        out.put(u64::from(code_code_lengths[code]), 3);
    }
    for (code, bits, count) in runs {
        out.put(u64::from(code_codes[code]), u32::from(code_code_lengths[code]));
        out.put(bits, count);
    }
}

/// Huffman code lengths of at most `longest` bits. Counts are flattened until no code is longer.
fn code_lengths<const N: usize>(counts: &[u32; N], longest: u8) -> [u8; N] {
    let mut counts = *counts;
    // One code alone would have no bits, which decoders do not agree on.
    for symbol in 0..N {
        if counts.iter().filter(|count| **count > 0).count() >= 2 {
            break;
        }
        counts[symbol] = counts[symbol].max(1);
    }
    loop {
        let mut parents: Vec<usize> = vec![0; N];
        let mut queue: BinaryHeap<_> = (0..N).filter(|&i| counts[i] > 0).map(|i| Reverse((counts[i], i))).collect();
        while let Some(Reverse((first, a))) = queue.pop() {
            let Some(Reverse((second, b))) = queue.pop() else { break };
            (parents[a], parents[b]) = (parents.len(), parents.len());
            queue.push(Reverse((first.saturating_add(second), parents.len())));
            parents.push(0);
        }
        // The root is the last; each inner node comes after its children.
        let mut depths = vec![0u8; parents.len()];
        for node in (N..parents.len().saturating_sub(1)).rev() {
            depths[node] = depths[parents[node]].saturating_add(1);
        }
        let mut lengths = [0; N];
        for symbol in (0..N).filter(|&symbol| counts[symbol] > 0) {
            lengths[symbol] = depths[parents[symbol]].saturating_add(1);
        }
        if lengths.iter().all(|&length| length <= longest) {
            return lengths;
        }
        for count in counts.iter_mut().filter(|count| **count > 0) {
            *count = *count / 4 + 1;
        }
    }
}

/// Canonical codes, their bits reversed as deflate writes them.
fn codes<const N: usize>(lengths: &[u8; N]) -> [u16; N] {
    let mut codes = [0; N];
    let mut next = 0u32;
    for bits in 1..=15u8 {
        next <<= 1;
        for symbol in (0..N).filter(|&symbol| lengths[symbol] == bits) {
            codes[symbol] = (next as u16).reverse_bits() >> (16 - bits);
            next += 1;
        }
    }
    codes
}

/// Bits, lowest first.
struct Bits {
    bytes: Vec<u8>,
    pending: u64,
    count: u32,
}

impl Bits {
    fn new(capacity: usize) -> Bits {
        Bits { bytes: Vec::with_capacity(capacity), pending: 0, count: 0 }
    }

    /// At most 32 bits at a time.
    #[inline(always)]
    fn put(&mut self, bits: u64, count: u32) {
        self.pending |= bits << self.count;
        self.count += count;
        if self.count >= 32 {
            self.bytes.extend((self.pending as u32).to_le_bytes());
            self.pending >>= 32;
            self.count -= 32;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let bytes = self.count.div_ceil(8) as usize;
        self.bytes.extend(&self.pending.to_le_bytes()[..bytes]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn inflated(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::ZlibDecoder::new(data).read_to_end(&mut out).unwrap();
        out
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out(runs in prop::collection::vec((any::<u8>(), 1..700usize), 0..400)) {
            let data: Vec<u8> = runs.iter().flat_map(|&(byte, count)| std::iter::repeat_n(byte, count)).collect();
            prop_assert!(inflated(&zlib(&data)) == data);
        }

        #[test]
        fn noise_and_skewed_bytes_come_out(bytes in prop::collection::vec(any::<u16>(), 0..3000)) {
            // The more leading zeros the rarer: codes of all lengths.
            let data: Vec<u8> = bytes.iter().map(|value| (value.leading_zeros() * 16) as u8 ^ (value & 3) as u8).collect();
            prop_assert!(inflated(&zlib(&data)) == data);
        }
    }

    #[test]
    fn blocks_of_any_number_come_out() {
        let data: Vec<u8> =
            (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 25) as u8 | (i >> 17) as u8).collect();
        assert!(inflated(&zlib(&data)) == data);
        let flat = vec![7; 1_000_000];
        let file = zlib(&flat);
        assert!(inflated(&file) == flat && file.len() < 2000);
        // Fibonacci counts make the deepest tree there is: deeper than codes may be long.
        let (mut a, mut b, mut deep) = (1usize, 1usize, Vec::new());
        for symbol in 0..24u8 {
            // Not in runs.
            deep.extend((0..a).flat_map(|_| [symbol, 255]));
            (a, b) = (b, a + b);
        }
        assert!(inflated(&zlib(&deep)) == deep);
    }
}
