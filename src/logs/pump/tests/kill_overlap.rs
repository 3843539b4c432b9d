//! A pump that is killed, or suspended, while two incarnations of a service are attached: nothing of either is lost, and
//! neither goes on in a line of the other.

use std::path::Path;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::kill::{Incarnation, Step, lines_of, live, sizes};
use super::{disk, options};
use crate::logs::line::{self, MAX_PAYLOAD, Stream};
use crate::logs::pump::SinkOptions;
use crate::logs::pump::drain::READ;
use crate::logs::transit::Transit;

/// A byte that only incarnations of this kind write.
fn own(kind: u8, byte: u8) -> u8 {
    if byte == b'\n' { byte } else { 0x80 | kind << 4 | byte & 0xf }
}

fn kind_of(byte: u8) -> u8 {
    byte >> 4 & 1
}

/// The lines of incarnations of one kind as they stand in the log; empty ones are left out.
fn lines_on(disk: &[u8], wanted: Stream, kind: u8) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let whole = disk.split_inclusive(|&byte| byte == b'\n');
    let whole = whole.map(|whole| whole.strip_suffix(b"\n").expect("ends"));
    for line in whole.map(|whole| line::parse(whole).expect("is a line")) {
        let Some(&first) = line.payload.first().filter(|_| line.stream == wanted) else { continue };
        assert!(line.payload.iter().all(|&byte| kind_of(byte) == kind_of(first)), "of one");
        if kind_of(first) != kind {
            continue;
        }
        match lines.last_mut() {
            Some(last) if line.continued => last.extend_from_slice(line.payload),
            _ => {
                assert!(!line.continued, "continues a line");
                lines.push(line.payload.to_vec());
            }
        }
    }
    lines
}

fn empty_lines(disk: &[u8], wanted: Stream) -> usize {
    let lines = disk.split(|&byte| byte == b'\n').filter_map(line::parse);
    lines.filter(|line| line.stream == wanted && line.payload.is_empty()).count()
}

fn assert_all_is_there(root: &Path, all: &[Incarnation]) {
    let disk = disk(root, "web");
    for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
        let written = |kind| {
            let of_kind = all.iter().filter(move |one: &&Incarnation| one.kind == kind);
            of_kind.flat_map(|one| lines_of(&one.written[index]))
        };
        for kind in [0, 1] {
            let expected: Vec<_> = written(kind).filter(|line| !line.is_empty()).collect();
            assert_eq!(lines_on(&disk, stream, kind), expected);
        }
        let empty = [0, 1].into_iter().flat_map(written).filter(Vec::is_empty).count();
        assert_eq!(empty_lines(&disk, stream), empty);
    }
    let (transit, left) = Transit::open(Some(root.join(".transit")));
    assert!(left.is_empty(), "everything is done with: {transit:?}");
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![
        6 => proptest::collection::vec(prop_oneof![2 => Just(b'\n'), 8 => any::<u8>()], 1..100),
        1 => (MAX_PAYLOAD - 2..MAX_PAYLOAD + 3).prop_map(|length| vec![b'x'; length]),
    ];
    let most = prop_oneof![1 => 1..100_usize, 2 => Just(READ)];
    prop_oneof![
        8 => (0..4_usize, bytes).prop_map(|(pipe, bytes)| Step::Write(pipe, bytes)),
        8 => (0..4_usize, most).prop_map(|(pipe, most)| Step::Pull(pipe, most)),
        3 => Just(Step::Overlap),
        2 => (0..2_usize).prop_map(Step::End),
        1 => Just(Step::Flush),
        1 => Just(Step::Note),
        1 => Just(Step::Rotate),
        1 => (0..2_000_usize).prop_map(Step::Room),
        1 => Just(Step::Free),
        1 => Just(Step::Suspend),
    ]
}

proptest! {
    #[test]
    fn wherever_it_is_killed_each_line_of_both_is_there_once_and_in_order(
        steps in proptest::collection::vec(step(), 1..60),
        kills in proptest::collection::vec(0..120_u64, 0..12),
        max_file in sizes(),
    ) {
        let root = tempfile::tempdir().expect("temporary directory");
        let options = SinkOptions { max_file, keep: 1_000_000, ..options() };
        let all = live(root.path(), options, &steps, &kills, own);
        assert_all_is_there(root.path(), &all);
    }
}

#[test]
fn at_each_place_of_an_overlap() {
    let steps = [
        Step::Write(0, b"old: half".to_vec()),
        Step::Pull(0, READ),
        Step::Overlap,
        Step::Write(2, b"new: half".to_vec()),
        Step::Write(3, b"bad: half".to_vec()),
        Step::Pull(2, READ),
        Step::Pull(3, READ),
        Step::Flush,
        Step::Write(0, b" a line\nold: ".to_vec()),
        Step::Write(2, b" a line\nnew: ".to_vec()),
        Step::Pull(0, READ),
        Step::Pull(2, READ),
        Step::Suspend,
        Step::Write(3, b" a line\n".to_vec()),
        Step::End(0),
        Step::Write(0, b"the end\n".to_vec()),
        Step::Overlap,
        Step::Write(3, b"next".to_vec()),
        Step::Pull(1, READ),
        Step::End(1),
    ];
    for kill in 0..200 {
        let root = tempfile::tempdir().expect("temporary directory");
        let options = SinkOptions { max_file: 100, keep: 1_000, ..options() };
        // Once more at the same place, to kill the recovery as well.
        let all = live(root.path(), options, &steps, &[kill, kill / 3, 2], own);
        assert_all_is_there(root.path(), &all);
    }
}
