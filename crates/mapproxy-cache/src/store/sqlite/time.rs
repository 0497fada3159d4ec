//! Times in databases: the local time of the machine, to the second, as MapProxy writes them.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// `2012-11-12 01:02:03` in local time.
pub(super) fn to_local(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The moment of a local time; `None` for anything else. Of the two moments that an hour repeated in autumn has, the
/// first.
pub(super) fn from_local(text: &[u8]) -> Option<SystemTime> {
    let time: DateTime = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(time.to_zoned(TimeZone::system()).ok()?.timestamp().into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_come_back_to_the_second() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_353_000_123_900);
        let text = to_local(time);
        assert_eq!(text.len(), 19);
        assert_eq!(from_local(text.as_bytes()), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_353_000_123)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "yesterday", "2012-13-01 00:00:00", "\u{fffd}"] {
            assert_eq!(from_local(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(from_local(b"\xff"), None);
    }
}
