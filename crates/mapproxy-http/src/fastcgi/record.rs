//! The records of FastCGI (specification of 1996, section 3.3), read and written.

/// Bytes before the content of a record.
pub(super) const HEADER: usize = 8;
/// The most content of a record that needs no padding: records begin at multiples of 8.
pub(super) const MAX_CONTENT: usize = 65_528;

/// Kinds of records.
pub(super) mod kind {
    pub(in crate::fastcgi) const BEGIN_REQUEST: u8 = 1;
    pub(in crate::fastcgi) const ABORT_REQUEST: u8 = 2;
    pub(in crate::fastcgi) const END_REQUEST: u8 = 3;
    pub(in crate::fastcgi) const PARAMS: u8 = 4;
    pub(in crate::fastcgi) const STDIN: u8 = 5;
    pub(in crate::fastcgi) const STDOUT: u8 = 6;
    pub(in crate::fastcgi) const GET_VALUES: u8 = 9;
    pub(in crate::fastcgi) const GET_VALUES_RESULT: u8 = 10;
    pub(in crate::fastcgi) const UNKNOWN_TYPE: u8 = 11;
}

/// How a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndStatus {
    Complete = 0,
    Overloaded = 2,
    UnknownRole = 3,
}

/// One record as it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) kind: u8,
    pub(super) id: u16,
    pub(super) content: &'a [u8],
    /// Bytes with header and padding.
    pub(super) length: usize,
}

/// The web server does not speak FastCGI as it should: there is nothing to say but goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("FastCGI: {0}")]
pub struct Violation(pub(super) &'static str);

impl<'a> Record<'a> {
    /// The first record, or `None` if it is not there completely.
    pub(super) fn first(input: &'a [u8]) -> Result<Option<Record<'a>>, Violation> {
        if input.first().is_some_and(|&version| version != 1) {
            return Err(Violation("the version is not 1"));
        }
        let Some(header) = input.first_chunk::<HEADER>() else { return Ok(None) };
        let [_, kind, id1, id0, length1, length0, padding, _] = *header;
        let end = HEADER + usize::from(u16::from_be_bytes([length1, length0]));
        let length = end + usize::from(padding);
        if input.len() < length {
            return Ok(None);
        }
        Ok(Some(Record { kind, id: u16::from_be_bytes([id1, id0]), content: &input[HEADER..end], length }))
    }
}

/// The header of a record with this much content, at most 65,535 bytes.
pub(super) fn header(kind: u8, id: u16, content: usize) -> [u8; HEADER] {
    let length = u16::try_from(content).expect("records are cut before they get so long");
    let ([id1, id0], [length1, length0]) = (id.to_be_bytes(), length.to_be_bytes());
    [1, kind, id1, id0, length1, length0, padding(content), 0]
}

/// Bytes from the end of the content to the next multiple of 8.
pub(super) fn padding(content: usize) -> u8 {
    (content.wrapping_neg() % 8) as u8
}

/// A whole record with little content.
pub(super) fn write(output: &mut Vec<u8>, kind: u8, id: u16, content: &[u8]) {
    output.extend_from_slice(&header(kind, id, content.len()));
    output.extend_from_slice(content);
    output.extend_from_slice(&[0; 8][..usize::from(padding(content.len()))]);
}

/// The end of a request.
pub(super) fn write_end(output: &mut Vec<u8>, id: u16, status: EndStatus) {
    write(output, kind::END_REQUEST, id, &[0, 0, 0, 0, status as u8, 0, 0, 0]);
}

/// Names and values as PARAMS and GET_VALUES have them. Ends early, with an error, where lengths go beyond the end.
pub(super) struct Pairs<'a>(pub(super) &'a [u8]);

impl<'a> Pairs<'a> {
    fn length(&mut self) -> Option<usize> {
        let &first = self.0.first()?;
        if first < 0x80 {
            self.0 = &self.0[1..];
            return Some(first.into());
        }
        let (&bytes, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        usize::try_from(u32::from_be_bytes(bytes) & 0x7fff_ffff).ok()
    }

    fn pair(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (name, value) = (self.length()?, self.length()?);
        let (name, rest) = self.0.split_at_checked(name)?;
        let (value, rest) = rest.split_at_checked(value)?;
        self.0 = rest;
        Some((name, value))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Violation>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let pair = self.pair();
        if pair.is_none() {
            self.0 = &[];
        }
        Some(pair.ok_or(Violation("a parameter is longer than all of them")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_are_written() {
        for length in [0, 1, 7, 8, 9, 300, 65_535] {
            let content = vec![7; length];
            let mut bytes = Vec::new();
            write(&mut bytes, kind::STDIN, 513, &content);
            assert_eq!(bytes.len() % 8, 0);
            let record = Record::first(&bytes).unwrap().unwrap();
            assert_eq!((record.kind, record.id, record.length), (kind::STDIN, 513, bytes.len()));
            assert_eq!(record.content, content);
            assert_eq!(Record::first(&bytes[..bytes.len() - 1]), Ok(None));
        }
    }

    #[test]
    fn pairs_have_short_and_long_lengths() {
        let mut bytes = vec![1, 2, b'a', b'b', b'c', 0x80, 0, 0, 200, 0];
        bytes.extend([b'n'; 200]);
        let pairs: Vec<_> = Pairs(&bytes).map(Result::unwrap).collect();
        assert_eq!(pairs, [(&b"a"[..], &b"bc"[..]), (&[b'n'; 200][..], &b""[..])]);
    }

    #[test]
    fn lengths_beyond_the_end_are_violations() {
        for bytes in [&[1][..], &[0x80, 0], &[1, 1, b'a'], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
            let pairs: Vec<_> = Pairs(bytes).collect();
            assert!(matches!(pairs[..], [Err(_)]), "{bytes:?}");
        }
    }
}
