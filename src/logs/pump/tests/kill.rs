//! A pump that is killed: at each place where it does something to a file, in virtual lives on this thread, and for
//! real.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::{disk, joined, name, options};
use crate::logs::kill::simulated::{Killed, at, room};
use crate::logs::line::{HEADER, MAX_PAYLOAD, Stream};
use crate::logs::pipe;
use crate::logs::pump::drain::READ;
use crate::logs::pump::pulse::Pulse;
use crate::logs::pump::queue::Queue;
use crate::logs::pump::worker::Worker;
use crate::logs::pump::{Limits, Options, SinkOptions, Source};
use crate::logs::transit::Transit;

/// What happens around the pump.
#[derive(Debug, Clone)]
enum Step {
    Write(usize, Vec<u8>),
    Pull(usize, usize),
    Flush,
    Note,
    Rotate,
    /// The disk has room for so many bytes.
    Room(usize),
    /// It has room, and what waits is tried again.
    Free,
}

/// A service whose pipes outlive its pumps.
struct Service {
    readers: [OwnedFd; 2],
    writers: [File; 2],
    /// What it wrote so far.
    written: [Vec<u8>; 2],
}

impl Service {
    fn new() -> Self {
        let ((out_reader, out), (err_reader, err)) =
            (pipe(None).expect("pipe"), pipe(None).expect("pipe"));
        Self {
            readers: [out_reader, err_reader],
            writers: [out.into(), err.into()],
            written: [Vec::new(), Vec::new()],
        }
    }

    /// A pump as the next cafe starts it.
    fn pump(&self, root: &Path, options: SinkOptions) -> Worker {
        let queue = Arc::new(Queue::new().expect("makes"));
        let limits = Limits { max_total: 1 << 40, min_free_percent: 0 };
        let transit = Some(root.join(".transit"));
        let set = Options { dir: root.to_owned(), limits, transit, notices: Box::new(drop) };
        let mut worker = Worker::new(set, queue, Arc::new(Pulse::new())).expect("sets up");
        worker.recover();
        let [stdout, stderr] = self.readers.each_ref().map(|fd| fd.try_clone().expect("clones"));
        let service = name("web");
        let watch_for = None;
        worker.attach(Source {
            service,
            generation: 1,
            stdout,
            stderr,
            options,
            watch_for,
            found: true,
        });
        worker
    }

    fn take(&mut self, step: &Step, pump: &mut Worker) {
        match step {
            Step::Write(stream, bytes) => {
                // Never more than a pipe has room for: nobody reads meanwhile.
                let waiting = rustix::io::ioctl_fionread(&self.readers[*stream]).expect("asks");
                if waiting as usize + bytes.len() < 40_000 {
                    self.writers[*stream].write_all(bytes).expect("writes");
                    self.written[*stream].extend_from_slice(bytes);
                }
            }
            Step::Pull(stream, most) => {
                if !pump.waits(0) {
                    pump.pull(0, *stream, *most);
                }
            }
            Step::Flush => pump.flush_partials(0),
            Step::Note => pump.note(0, "a line of cafe"),
            Step::Rotate => {
                // It may have no room.
                let _ = pump.rotate(&name("web"));
            }
            Step::Room(bytes) => room(Some(*bytes)),
            Step::Free => {
                room(None);
                pump.retry_all();
            }
        }
    }
}

/// All of `steps`, by as many pumps as are killed and one more: each dies at the point of its number.
fn live(root: &Path, options: SinkOptions, steps: &[Step], kills: &[u64]) -> [Vec<u8>; 2] {
    let mut service = Service::new();
    let mut kills = kills.iter();
    let mut next = 0;
    loop {
        let kill = kills.next().copied();
        let lived = catch_unwind(AssertUnwindSafe(|| {
            at(kill);
            let mut pump = service.pump(root, options);
            while let Some(step) = steps.get(next) {
                next += 1;
                service.take(step, &mut pump);
            }
            room(None);
            pump.retry_all();
            pump.finish(0);
        }));
        at(None);
        match lived {
            Ok(()) => return service.written,
            Err(payload) if payload.is::<Killed>() => {}
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }
}

fn lines_of(written: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<_> = written.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    lines.pop_if(|last| last.is_empty());
    lines
}

fn lines_on(root: &Path, wanted: Stream) -> Vec<Vec<u8>> {
    let lines = joined(&disk(root, "web")).into_iter();
    lines.filter(|(stream, _)| *stream == wanted).map(|(_, payload)| payload).collect()
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![
        4 => proptest::collection::vec(prop_oneof![2 => Just(b'\n'), 8 => any::<u8>()], 1..200),
        1 => (MAX_PAYLOAD - 2..MAX_PAYLOAD + 3).prop_map(|length| vec![b'x'; length]),
        1 => (1..4_usize).prop_map(|length| vec![b'\n'; length]),
    ];
    let most = prop_oneof![1 => 1..100_usize, 2 => Just(READ)];
    prop_oneof![
        6 => (0..2_usize, bytes).prop_map(|(stream, bytes)| Step::Write(stream, bytes)),
        6 => (0..2_usize, most).prop_map(|(stream, most)| Step::Pull(stream, most)),
        1 => Just(Step::Flush),
        1 => Just(Step::Note),
        1 => Just(Step::Rotate),
        1 => (0..2_000_usize).prop_map(Step::Room),
        1 => Just(Step::Free),
    ]
}

fn sizes() -> impl Strategy<Value = u64> {
    prop_oneof![Just(50), 100..1_000_u64, Just(1 << 20)]
}

proptest! {
    #[test]
    fn wherever_it_is_killed_each_line_is_there_once_and_in_order(
        steps in proptest::collection::vec(step(), 1..40),
        kills in proptest::collection::vec(0..80_u64, 0..12),
        max_file in sizes(),
    ) {
        let root = tempfile::tempdir().expect("temporary directory");
        let options = SinkOptions { max_file, keep: 1_000_000, ..options() };
        let [out, err] = live(root.path(), options, &steps, &kills);
        assert_eq!(lines_on(root.path(), Stream::Stdout), lines_of(&out));
        assert_eq!(lines_on(root.path(), Stream::Stderr), lines_of(&err));
        let (transit, left) = Transit::open(Some(root.path().join(".transit")));
        assert!(left.is_empty(), "everything is done with: {transit:?}");
    }

    #[test]
    fn where_hardly_a_file_is_kept_none_is_taken_for_another(
        steps in proptest::collection::vec(step(), 1..40),
        kills in proptest::collection::vec(0..80_u64, 0..12),
        keep in 0..2_u32,
    ) {
        let root = tempfile::tempdir().expect("temporary directory");
        let options = SinkOptions { max_file: 200, keep, ..options() };
        let [out, _] = live(root.path(), options, &steps, &kills);
        // Of a line, its first pieces may be in a file that is gone.
        let disk = disk(root.path(), "web");
        let kept: Vec<u8> = disk
            .split_inclusive(|&byte| byte == b'\n')
            .filter_map(|line| crate::logs::line::parse(line.strip_suffix(b"\n")?))
            .filter(|line| line.stream == Stream::Stdout)
            .flat_map(|line| line.payload.to_vec())
            .collect();
        let all: Vec<u8> = out.into_iter().filter(|&byte| byte != b'\n').collect();
        assert!(all.ends_with(&kept), "the end of what was written, once");
    }
}

#[test]
fn at_each_place_of_one_read_with_rotation() {
    let bytes: Vec<u8> =
        (0..40).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
    let long = vec![b'y'; MAX_PAYLOAD + 100];
    let steps = [
        Step::Write(0, b"first half".to_vec()),
        Step::Pull(0, READ),
        Step::Write(0, bytes),
        Step::Write(0, b"unfinished".to_vec()),
        Step::Pull(0, READ),
        Step::Flush,
        Step::Write(0, long),
        Step::Pull(0, READ),
        Step::Write(1, b"no end".to_vec()),
        Step::Pull(1, READ),
    ];
    let mut places = 0;
    for kill in 0.. {
        let root = tempfile::tempdir().expect("temporary directory");
        let options = SinkOptions { max_file: 400, keep: 100, ..options() };
        // Once more at the same place, to kill the recovery as well.
        let [out, err] = live(root.path(), options, &steps, &[kill, kill / 3, 2]);
        assert_eq!(lines_on(root.path(), Stream::Stdout), lines_of(&out), "{kill}");
        assert_eq!(lines_on(root.path(), Stream::Stderr), lines_of(&err), "{kill}");
        places = kill;
        if kill > 400 {
            break;
        }
    }
    assert!(places > 100);
}

#[test]
fn at_each_place_of_a_rotation_while_lines_wait() {
    let steps = [
        Step::Write(0, b"line 0\nline 1\nline 2\nhalf".to_vec()),
        // Two of them.
        Step::Room(2 * (HEADER + 7)),
        Step::Pull(0, READ),
        Step::Rotate,
        Step::Note,
        Step::Flush,
        Step::Free,
    ];
    for kill in 0..100 {
        let root = tempfile::tempdir().expect("temporary directory");
        let [out, _] = live(root.path(), options(), &steps, &[kill, kill / 2]);
        assert_eq!(lines_on(root.path(), Stream::Stdout), lines_of(&out), "{kill}");
    }
}
