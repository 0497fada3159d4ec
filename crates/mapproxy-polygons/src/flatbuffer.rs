//! Tables of FlatBuffers, read in place. Every offset is checked, so a broken file ends in `None`.

/// A table in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a> {
    buffer: &'a [u8],
    /// Where the table begins.
    at: usize,
    /// Where its list of fields begins, and how long it is.
    fields: (usize, usize),
}

impl<'a> Table<'a> {
    /// The table that a buffer begins with.
    pub(crate) fn root(buffer: &'a [u8]) -> Option<Table<'a>> {
        Table::at(buffer, u32_at(buffer, 0)? as usize)
    }

    fn at(buffer: &'a [u8], at: usize) -> Option<Table<'a>> {
        let back = i32::from_le_bytes(array_at(buffer, at)?);
        let start = usize::try_from(i64::try_from(at).ok()? - i64::from(back)).ok()?;
        let length = u16::from_le_bytes(array_at(buffer, start)?) as usize;
        buffer.get(start..start.checked_add(length)?)?;
        Some(Table { buffer, at, fields: (start, length) })
    }

    /// Where a field's value is; `None` where it has its default.
    fn field(&self, number: usize) -> Option<usize> {
        let place = 4 + 2 * number;
        if place + 2 > self.fields.1 {
            return None;
        }
        match u16::from_le_bytes(array_at(self.buffer, self.fields.0 + place)?) {
            0 => None,
            offset => self.at.checked_add(offset as usize),
        }
    }

    pub(crate) fn u8(&self, number: usize) -> Option<u8> {
        self.buffer.get(self.field(number)?).copied()
    }

    pub(crate) fn u16(&self, number: usize) -> Option<u16> {
        array_at(self.buffer, self.field(number)?).map(u16::from_le_bytes)
    }

    pub(crate) fn u64(&self, number: usize) -> Option<u64> {
        array_at(self.buffer, self.field(number)?).map(u64::from_le_bytes)
    }

    /// The elements of a vector, each `size` bytes.
    pub(crate) fn vector(&self, number: usize, size: usize) -> Option<&'a [u8]> {
        let start = self.target(self.field(number)?)?;
        let length = (u32_at(self.buffer, start)? as usize).checked_mul(size)?;
        let start = start + 4;
        self.buffer.get(start..start.checked_add(length)?)
    }

    pub(crate) fn text(&self, number: usize) -> Option<&'a str> {
        std::str::from_utf8(self.vector(number, 1)?).ok()
    }

    /// The tables of a vector; a broken one is `None`.
    pub(crate) fn tables(&self, number: usize) -> impl Iterator<Item = Option<Table<'a>>> + use<'a> {
        let buffer = self.buffer;
        let start = self.field(number).and_then(|field| self.target(field)).map_or(0, |start| start + 4);
        let length = self.vector(number, 4).map_or(0, |vector| vector.len() / 4);
        (0..length).map(move |index| {
            let at = start + 4 * index;
            Table::at(buffer, at.checked_add(u32_at(buffer, at)? as usize)?)
        })
    }

    pub(crate) fn table(&self, number: usize) -> Option<Table<'a>> {
        Table::at(self.buffer, self.target(self.field(number)?)?)
    }

    fn target(&self, at: usize) -> Option<usize> {
        at.checked_add(u32_at(self.buffer, at)? as usize)
    }
}

fn u32_at(buffer: &[u8], at: usize) -> Option<u32> {
    array_at(buffer, at).map(u32::from_le_bytes)
}

fn array_at<const N: usize>(buffer: &[u8], at: usize) -> Option<[u8; N]> {
    buffer.get(at..)?.first_chunk().copied()
}
