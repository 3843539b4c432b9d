//! Any bytes as a line of a log, and as what a service wrote.

#![no_main]

use cafe::logs::line::{Stream, escape, header, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse(bytes);
    let shown = escape(bytes);
    assert!(!shown.chars().any(|character| character.is_control() && character != '\t'));
    let line = [&header(1_700_000_000_000_000, Stream::Stdout.mark(true))[..], bytes].concat();
    let parsed = parse(&line).expect("a line of ours");
    assert_eq!((parsed.payload, parsed.continued), (bytes, true));
});
