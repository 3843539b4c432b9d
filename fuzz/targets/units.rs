//! Any text as a duration and as a size: what is understood is the same after it was written and read again.

#![no_main]

use cafe::types::unit::{exact_duration, exact_size, parse_duration, parse_size};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&exact_duration(duration)), Ok(duration));
    }
    if let Ok(bytes) = parse_size(text) {
        assert_eq!(parse_size(&exact_size(bytes)), Ok(bytes));
    }
});
