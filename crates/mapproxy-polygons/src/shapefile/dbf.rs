//! dBASE tables, as far as shapefiles use them.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use crate::bytes::Bytes;
use crate::condition::{Column, Condition, Kind, Unfit, Value};

/// A table in memory.
#[derive(Debug)]
pub(super) struct Dbf<'a> {
    columns: Vec<Field>,
    /// `None` where it is one not known here.
    encoding: Option<&'static Encoding>,
    records: std::slice::ChunksExact<'a, u8>,
}

#[derive(Debug)]
struct Field {
    column: Column,
    is_integer: bool,
    /// In a record, whose first byte says whether it is deleted.
    start: usize,
    length: usize,
}

impl<'a> Dbf<'a> {
    /// `encoding`: what the file beside it says (`UTF-8`, `1252`).
    pub(super) fn new(file: &'a [u8], encoding: Option<&str>) -> Result<Dbf<'a>, &'static str> {
        const NO_TABLE: &str = "no dBASE table";
        let mut header = Bytes::new(file);
        header.take(4).ok_or(NO_TABLE)?;
        let records = header.u32_le().ok_or(NO_TABLE)? as usize;
        let start = u16::from_le_bytes(header.array().ok_or(NO_TABLE)?) as usize;
        let length = u16::from_le_bytes(header.array().ok_or(NO_TABLE)?) as usize;
        let language = file.get(29).copied().ok_or(NO_TABLE)?;
        let mut fields = Bytes::new(file.get(32..start).ok_or(NO_TABLE)?);
        let mut columns: Vec<Field> = Vec::new();
        let mut at = 1;
        while let Some(field) = fields.take(32).filter(|field| field[0] != b'\r') {
            let name = field[..11].split(|byte| *byte == 0).next().unwrap_or_default();
            let size = field[16] as usize;
            let kind = match field[11] {
                b'C' => Kind::Text,
                b'N' | b'F' => Kind::Number,
                _ => Kind::Other,
            };
            let name = String::from_utf8_lossy(name).trim().to_owned();
            let is_integer = field[11] == b'N' && field[17] == 0;
            columns.push(Field { column: Column { name, kind }, is_integer, start: at, length: size });
            at += size;
        }
        if at > length || length == 0 {
            return Err("the columns of the table are longer than its records");
        }
        let records = file.get(start..).unwrap_or_default().chunks_exact(length).take(records);
        // Records that are not there have no values; those that are, are found by number.
        let count = records.len();
        let records = file.get(start..start + count * length).unwrap_or_default().chunks_exact(length);
        let encoding = match encoding {
            Some(label) => encoding_called(label),
            None => encoding_of_language(language),
        };
        Ok(Dbf { columns, encoding, records })
    }

    pub(super) fn condition(&self, text: &str) -> Result<Condition, Unfit> {
        let columns: Vec<Column> = self.columns.iter().map(|field| field.column.clone()).collect();
        let condition = Condition::new(text, &columns)?;
        let is_sure = self.encoding.is_some() || condition.is_ascii();
        if is_sure { Ok(condition) } else { Err(Unfit::Beyond) }
    }

    pub(super) fn is_deleted(&self, record: usize) -> bool {
        self.record(record).is_some_and(|record| record[0] == b'*')
    }

    pub(super) fn value(&self, record: usize, column: usize) -> Value<'a> {
        let Some(field) = self.columns.get(column) else { return Value::Null };
        let bytes = self.record(record).and_then(|record| record.get(field.start..field.start + field.length));
        // The end of a text in C, then blanks.
        let bytes = bytes.and_then(|bytes| bytes.split(|byte| *byte == 0).next()).unwrap_or_default().trim_ascii();
        match field.column.kind {
            _ if bytes.is_empty() => Value::Null,
            Kind::Text => Value::Text(self.encoding.unwrap_or(WINDOWS_1252).decode_without_bom_handling(bytes).0),
            Kind::Number if bytes[0] == b'*' => Value::Null,
            Kind::Number => {
                let text = std::str::from_utf8(bytes).unwrap_or_default();
                match text.parse() {
                    Ok(integer) if field.is_integer => Value::Integer(integer),
                    _ => Value::Real(text.parse().unwrap_or(0.0)),
                }
            }
            Kind::Other if bytes.iter().all(|byte| b"0?*".contains(byte)) => Value::Null,
            Kind::Other => Value::Text("".into()),
        }
    }

    fn record(&self, number: usize) -> Option<&'a [u8]> {
        self.records.clone().nth(number)
    }
}

fn encoding_called(label: &str) -> Option<&'static Encoding> {
    let label = label.trim().to_ascii_lowercase().replace(' ', "-");
    let number = label.strip_prefix("cp").or_else(|| label.strip_prefix("ansi-")).unwrap_or(&label);
    match number {
        "65001" => Some(UTF_8),
        "88591" | "iso-88591" => Some(WINDOWS_1252),
        _ if number.len() == 4 && number.starts_with("125") => {
            Encoding::for_label(format!("windows-{number}").as_bytes())
        }
        _ => Encoding::for_label(label.as_bytes()),
    }
}

/// By the byte in the header, where there is no file that says it.
fn encoding_of_language(language: u8) -> Option<&'static Encoding> {
    let label: &[u8] = match language {
        0x00 | 0x03 | 0x57 | 0x58 | 0x59 => b"windows-1252",
        0x4d => b"gbk",
        0x4e => b"euc-kr",
        0x4f => b"big5",
        0x13 | 0x7b => b"shift_jis",
        0x26 | 0x65 => b"ibm866",
        0x50 | 0x7c => b"windows-874",
        0xc8 => b"windows-1250",
        0xc9 => b"windows-1251",
        0xca => b"windows-1254",
        0xcb => b"windows-1253",
        0xcc => b"windows-1257",
        _ => return None,
    };
    Encoding::for_label(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with a text of 6 bytes, an integer of 4, a number with decimals of 5 and a date.
    pub(super) fn table(records: &[&[u8; 24]]) -> Vec<u8> {
        let mut file = vec![3, 126, 1, 1];
        file.extend((records.len() as u32).to_le_bytes());
        file.extend((32 + 4 * 32 + 1_u16).to_le_bytes());
        file.extend(24_u16.to_le_bytes());
        file.resize(32, 0);
        for (name, kind, length, decimals) in
            [("NAME", b'C', 6, 0), ("N", b'N', 4, 0), ("R", b'F', 5, 2), ("D", b'D', 8, 0)]
        {
            let mut field = [0; 32];
            field[..name.len()].copy_from_slice(str::as_bytes(name));
            (field[11], field[16], field[17]) = (kind, length, decimals);
            file.extend(field);
        }
        file.push(b'\r');
        records.iter().for_each(|record| file.extend(*record));
        file
    }

    const RECORDS: &[&[u8; 24]] =
        &[b" abc      1 1.5020200101", b"*gone     2 2.5020200101", b" \xc4          ****00000000"];

    #[test]
    fn values_are_trimmed_and_blanks_are_nothing() {
        let file = table(RECORDS);
        let table = Dbf::new(&file, None).unwrap();
        assert_eq!(table.value(0, 0), Value::Text("abc".into()));
        assert_eq!(table.value(0, 1), Value::Integer(1));
        assert_eq!(table.value(0, 2), Value::Real(1.5));
        assert_ne!(table.value(0, 3), Value::Null);
        assert_eq!(table.value(2, 0), Value::Text("Ä".into()));
        assert_eq!(table.value(2, 1), Value::Null);
        assert_eq!(table.value(2, 2), Value::Null);
        assert_eq!(table.value(2, 3), Value::Null);
        assert!(table.is_deleted(1) && !table.is_deleted(0));
        assert_eq!(table.value(3, 0), Value::Null);
    }

    #[test]
    fn letters_beyond_ascii_need_a_known_encoding() {
        let mut file = table(RECORDS);
        assert!(Dbf::new(&file, Some("UTF-8")).unwrap().condition("name = 'Ä'").is_ok());
        file[29] = 0x02; // DOS, code page 850
        let table = Dbf::new(&file, None).unwrap();
        assert_eq!(table.condition("name = 'Ä'").unwrap_err(), Unfit::Beyond);
        assert!(table.condition("name = 'abc'").unwrap().holds(|column| table.value(0, column)));
        for (label, wanted) in [
            ("1251", "windows-1251"),
            ("cp1250", "windows-1250"),
            ("ISO 8859-1", "windows-1252"),
            ("88591", "windows-1252"),
        ] {
            assert_eq!(encoding_called(label).map(Encoding::name), Some(wanted), "{label}");
        }
    }

    #[test]
    fn tables_that_are_cut_off_have_fewer_records() {
        let file = table(RECORDS);
        for length in 0..file.len() {
            if let Ok(table) = Dbf::new(&file[..length], None) {
                for record in 0..4 {
                    (0..5).for_each(|column| drop(table.value(record, column)));
                }
            }
        }
    }
}
