//! Durations and byte sizes as written in `cafe.ron`: `"250ms"`, `"10s"`, `"64MiB"`.

use std::time::Duration;

/// Why a text is not a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a number followed by a known unit.
    #[error("`{text}` is not a {what}: write it like {example}")]
    Syntax {
        /// `duration` or `size`.
        what: &'static str,
        /// The text.
        text: String,
        /// How it is written.
        example: &'static str,
    },
    /// The value does not fit.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

const DURATION_UNITS: [(&str, u64); 7] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// Reads `"1h30m"`, `"250ms"`, `"1.5s"`, `"0s"`; units us, ms, s, m (min), h, d.
///
/// # Errors
/// When the text has another form, or is more than 584 years.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let syntax = || Error::Syntax {
        what: "duration",
        text: text.to_owned(),
        example: "\"250ms\", \"10s\" or \"1h30m\"",
    };
    if text.is_empty() {
        return Err(syntax());
    }
    let mut nanoseconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (part, after) = scaled(rest, &DURATION_UNITS).ok_or_else(syntax)?;
        let part = part.ok_or_else(|| Error::TooLarge(text.to_owned()))?;
        nanoseconds =
            nanoseconds.checked_add(part).ok_or_else(|| Error::TooLarge(text.to_owned()))?;
        rest = after;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Reads `"64MiB"`, `"10MB"`, `"512B"`; binary (KiB) and decimal (kB) units differ, as in IEC 80000-13.
///
/// # Errors
/// When the text has another form, or does not fit 64 bits.
pub fn parse_size(text: &str) -> Result<u64, Error> {
    let syntax = || Error::Syntax {
        what: "size",
        text: text.to_owned(),
        example: "\"64MiB\", \"10kB\" or \"512B\"",
    };
    match scaled(text, &SIZE_UNITS) {
        Some((value, "")) => value.ok_or_else(|| Error::TooLarge(text.to_owned())),
        _ => Err(syntax()),
    }
}

/// The first `number unit` of `text`, scaled (`None` inside: it does not fit), and what follows it.
fn scaled<'t>(text: &'t str, units: &[(&str, u64)]) -> Option<(Option<u64>, &'t str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(unit_end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u64 = fraction.parse().ok()?;
    let value = whole.parse::<u64>().ok().and_then(|whole| {
        let part = u128::from(fraction) * u128::from(*factor) / u128::from(scale);
        whole.checked_mul(*factor)?.checked_add(u64::try_from(part).ok()?)
    });
    Some((value, after))
}

/// The shortest text that [`parse_duration`] reads back as `duration`: `90s`, `1500ms`, `1h`.
#[must_use]
pub fn exact_duration(duration: Duration) -> String {
    const STEPS: [(u128, &str); 6] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    match STEPS.into_iter().find(|(factor, _)| nanoseconds.is_multiple_of(*factor)) {
        Some((factor, unit)) => format!("{}{unit}", nanoseconds / factor),
        None => format!("{}.{:03}us", nanoseconds / 1_000, nanoseconds % 1_000),
    }
}

/// The shortest text that [`parse_size`] reads back as `bytes`: `10MiB`, `1500B`.
#[must_use]
pub fn exact_size(bytes: u64) -> String {
    const STEPS: [(u64, &str); 4] =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let even = STEPS.into_iter().find(|(factor, _)| bytes > 0 && bytes.is_multiple_of(*factor));
    let (factor, unit) = even.unwrap_or((1, "B"));
    format!("{}{unit}", bytes / factor)
}

/// `850ms`, `3.2s`, `2m 5s`, `4h 10m`, `3d 4h`: two units at most, for people.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=9 => format!("{}.{}s", seconds, duration.subsec_millis() / 100),
        10..=59 => format!("{seconds}s"),
        60..=3_599 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..=86_399 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        return format!("{large}{large_unit}");
    }
    format!("{large}{large_unit} {small}{small_unit}")
}

/// `512B`, `84MiB`, `1.5GiB`: three digits at most, for people.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    const STEPS: [(u64, &str); 4] =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((factor, unit)) = STEPS.into_iter().find(|(factor, _)| bytes >= *factor) else {
        return format!("{bytes}B");
    };
    let tenths = bytes / (factor / 10).max(1);
    if tenths < 100 && !tenths.is_multiple_of(10) {
        return format!("{}.{}{unit}", tenths / 10, tenths % 10);
    }
    format!("{}{unit}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::{
        Error, exact_duration, exact_size, parse_duration, parse_size, show_duration, show_size,
    };
    use std::time::Duration;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1 s", "1y", "1.s", ".5s", "1..5s"] {
            assert!(matches!(parse_duration(text), Err(Error::Syntax { .. })), "{text}");
        }
        assert!(matches!(parse_duration("999999999999d"), Err(Error::TooLarge(_))));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("512B", 512), ("1kB", 1_000), ("64MiB", 64 << 20), ("1.5KiB", 1_536)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "64mb", "64MiB ", "1MiB2KiB"] {
            assert!(matches!(parse_size(text), Err(Error::Syntax { .. })), "{text}");
        }
        assert!(matches!(parse_size("99999999999TiB"), Err(Error::TooLarge(_))));
    }

    #[test]
    fn shown_for_people() {
        for (milliseconds, text) in [
            (850, "850ms"),
            (3_240, "3.2s"),
            (125_000, "2m 5s"),
            (15_000_000, "4h 10m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(show_duration(Duration::from_millis(milliseconds)), text);
        }
        for (bytes, text) in [(512, "512B"), (84 << 20, "84MiB"), (3 << 29, "1.5GiB")] {
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn exact_texts_read_back_as_what_they_show() {
        for nanoseconds in [0, 1, 999, 1_500, 250_000_000, 1_500_000_000, 90_000_000_000] {
            let duration = Duration::from_nanos(nanoseconds);
            assert_eq!(parse_duration(&exact_duration(duration)), Ok(duration));
        }
        assert_eq!(exact_duration(Duration::from_secs(5_400)), "90m");
        for bytes in [0, 1, 1_000, 1_024, 10 << 20, u64::MAX] {
            assert_eq!(parse_size(&exact_size(bytes)), Ok(bytes));
        }
        assert_eq!(exact_size(10 << 20), "10MiB");
    }
}
