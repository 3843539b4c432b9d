//! One line on disk: `2026-11-20T18:20:01.114523Z o payload`. Stamp, stream mark, bytes as written.
//!
//! The stamp is UTC with microseconds and always 27 bytes. The mark is `o` for stdout, `e` for stderr, `c` for a
//! line of cafe itself. A line longer than [`MAX_PAYLOAD`], or one that was left unfinished for some time, goes on
//! in the next line of the same stream, whose mark is then a capital: `O`, `E`. Payloads are never changed: NULs,
//! control bytes and invalid UTF-8 stay; [`escape`] makes them harmless for a terminal.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Largest payload of one line on disk, bytes; what is longer is continued.
pub const MAX_PAYLOAD: usize = 16 * 1024;

/// Length of a stamp, bytes.
pub const STAMP: usize = 27;

/// Length of everything before the payload: stamp, space, mark, space.
pub const HEADER: usize = STAMP + 3;

/// Microseconds since 1970, UTC.
pub type Micros = u64;

/// 9999-12-30T00:00:00Z: a clock beyond it is shown as this.
const LAST: Micros = 253_402_128_000_000_000;

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// The service, to descriptor 1.
    Stdout,
    /// The service, to descriptor 2.
    Stderr,
    /// cafe itself: starts, lost lines.
    Cafe,
}

impl Stream {
    /// The byte on disk.
    #[must_use]
    pub fn mark(self, continued: bool) -> u8 {
        let mark = match self {
            Self::Stdout => b'o',
            Self::Stderr => b'e',
            Self::Cafe => b'c',
        };
        if continued { mark.to_ascii_uppercase() } else { mark }
    }
}

/// A line on disk, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<'line> {
    /// When it was read from the service.
    pub at: Micros,
    /// Who wrote it.
    pub stream: Stream,
    /// Whether it goes on from the line before it in the same stream.
    pub continued: bool,
    /// What was written, without the newline.
    pub payload: &'line [u8],
}

/// Takes apart one line without its newline; `None` if it is not a line of cafe.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Parsed<'_>> {
    let at = parse_stamp(line)?;
    let [b' ', mark, b' ', payload @ ..] = line.get(STAMP..)? else { return None };
    let stream = match mark.to_ascii_lowercase() {
        b'o' => Stream::Stdout,
        b'e' => Stream::Stderr,
        b'c' => Stream::Cafe,
        _ => return None,
    };
    Some(Parsed { at, stream, continued: mark.is_ascii_uppercase(), payload })
}

/// The clock now.
#[must_use]
pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(LAST).min(LAST)
}

/// The stamp, space, mark and space that begin a line.
#[must_use]
pub fn header(at: Micros, mark: u8) -> [u8; HEADER] {
    let mut header = [b' '; HEADER];
    header[..STAMP].copy_from_slice(&stamp(at));
    header[STAMP + 1] = mark;
    header
}

/// Formats a stamp.
#[must_use]
pub fn stamp(at: Micros) -> [u8; STAMP] {
    let at = at.min(LAST);
    let (seconds, micros) = (at / 1_000_000, at % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], second / 3_600);
    digits(&mut text[14..16], second / 60 % 60);
    digits(&mut text[17..19], second % 60);
    digits(&mut text[20..26], micros);
    text
}

/// Reads the stamp at the head of `line`.
#[must_use]
pub fn parse_stamp(line: &[u8]) -> Option<Micros> {
    let text = line.get(..STAMP)?;
    let fixed = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')];
    if fixed.iter().any(|&(position, byte)| text[position] != byte) {
        return None;
    }
    let (year, month, day) = (number(&text[0..4])?, number(&text[5..7])?, number(&text[8..10])?);
    let (hour, minute, second) =
        (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..19])?);
    let sane = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000 + number(&text[20..26])?)
}

/// The payload for a terminal: control bytes and invalid UTF-8 as `\x1b`, tabs kept, so that no log line can move the
/// cursor, retitle the window or hide another line.
#[must_use]
pub fn escape(payload: &[u8]) -> String {
    let mut text = String::with_capacity(payload.len());
    for chunk in payload.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\t' => text.push('\t'),
                // Bidirectional overrides reorder what a terminal shows ("trojan source", CVE-2021-42574).
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(character));
                }
                control if control.is_control() => {
                    let _ = write!(text, "\\x{:02x}", u32::from(control));
                }
                character => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789"[usize::try_from(value % 10).unwrap_or_default()];
        value /= 10;
    }
}

fn number(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'))
    })
}

/// Days since 1970-01-01 to year, month, day (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`], for years from 1970.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{HEADER, LAST, Stream, escape, header, parse, parse_stamp, stamp};

    proptest! {
        #[test]
        fn stamps_agree_with_jiff_and_survive_parsing(at in 0..LAST) {
            let micros = i64::try_from(at).expect("fits");
            let expected = jiff::Timestamp::from_microsecond(micros).expect("in range");
            assert_eq!(String::from_utf8_lossy(&stamp(at)), format!("{expected:.6}"));
            assert_eq!(parse_stamp(&stamp(at)), Some(at));
        }

        #[test]
        fn any_payload_survives(at in 0..LAST, continued: bool, payload in any::<Vec<u8>>()) {
            let mut line = header(at, Stream::Stderr.mark(continued)).to_vec();
            line.extend_from_slice(&payload);
            let parsed = parse(&line).expect("parses");
            assert_eq!((parsed.at, parsed.continued, parsed.payload), (at, continued, &*payload));
            assert_eq!(parsed.stream, Stream::Stderr);
        }

        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in any::<Vec<u8>>()) {
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn what_is_torn_or_foreign_is_no_line() {
        let line = b"2026-11-20T18:20:01.114523Z o payload";
        assert_eq!(parse(line).map(|line| line.payload), Some(&b"payload"[..]));
        for cut in 0..HEADER {
            assert_eq!(parse(&line[..cut]), None, "{cut}");
        }
        for foreign in [
            "2026-11-20T18:20:01.114523Z x payload",
            "2026-13-20T18:20:01.114523Z o payload",
            "1969-11-20T18:20:01.114523Z o payload",
            "2026-11-20 18:20:01.114523Z o payload",
        ] {
            assert_eq!(parse(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(escape(b"plain \xc3\xa4\ttab"), "plain \u{e4}\ttab");
        assert_eq!(
            escape(b"\x1b]0;title\x07 \x00 \xff \r"),
            "\\x1b]0;title\\x07 \\x00 \\xff \\x0d"
        );
        assert_eq!(escape("\u{9b}31m \u{202e}x".as_bytes()), "\\x9b31m \\u{202e}x");
    }
}
