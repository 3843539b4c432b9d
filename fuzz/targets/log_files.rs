//! Any bytes as the files of a log: they are read to their end, forwards and from the last lines, and since some time.

#![no_main]

use std::fs;

use cafe::logs::read::{Query, Reader};
use libfuzzer_sys::fuzz_target;

const ARCHIVE: &str = "0000000001.20261120T182001.114523Z.20261120T183001.000001Z.log.gz";

fuzz_target!(|input: (&[u8], &[u8], u8)| {
    let (current, archive, lines) = input;
    let root = tempfile::tempdir().expect("makes a directory");
    let service = root.path().join("web");
    fs::create_dir(&service).expect("makes a directory");
    fs::write(service.join("current"), current).expect("writes");
    fs::write(service.join(ARCHIVE), archive).expect("writes");
    let since = "2026-11-20T18:25:00Z".parse().expect("a time");
    for query in [
        Query::default(),
        Query { lines: Some(lines.into()), ..Query::default() },
        Query { since: Some(since), ..Query::default() },
    ] {
        let Ok(reader) = Reader::open(root.path(), &query) else { continue };
        let found = reader.take_while(Result::is_ok).count();
        assert!(query.lines.is_none_or(|most| found <= most));
    }
});
