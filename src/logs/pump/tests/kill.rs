//! A pump that is killed at each place where it does something to a file, in virtual lives on this thread.

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

/// What happens around the pump. Of two incarnations, the streams of the second are 2 and 3.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Write(usize, Vec<u8>),
    Pull(usize, usize),
    Flush,
    Note,
    Rotate,
    /// The disk has room for so many bytes.
    Room(usize),
    /// It has room, and what waits is tried again.
    Free,
    /// The next incarnation comes beside the one that is there.
    Overlap,
    /// One of two incarnations ends.
    End(usize),
    /// The pump is suspended, and another one goes on.
    Suspend,
}

/// One incarnation of the service; its pipes outlive the pumps.
pub(super) struct Incarnation {
    generation: u64,
    /// 0 or 1, and never the same as that of the one beside it.
    pub(super) kind: u8,
    readers: [OwnedFd; 2],
    writers: [File; 2],
    /// What it wrote so far.
    pub(super) written: [Vec<u8>; 2],
    /// Whether its process is gone: it writes no more.
    gone: bool,
}

impl Incarnation {
    fn new(generation: u64, kind: u8) -> Self {
        let ((out_reader, out), (err_reader, err)) =
            (pipe(None).expect("pipe"), pipe(None).expect("pipe"));
        Self {
            generation,
            kind,
            readers: [out_reader, err_reader],
            writers: [out.into(), err.into()],
            written: [Vec::new(), Vec::new()],
            gone: false,
        }
    }

    fn write(&mut self, stream: usize, bytes: Vec<u8>) {
        // Never more than a pipe has room for: nobody reads meanwhile.
        let waiting = rustix::io::ioctl_fionread(&self.readers[stream]).expect("asks");
        if !self.gone && waiting as usize + bytes.len() < 40_000 {
            self.writers[stream].write_all(&bytes).expect("writes");
            self.written[stream].extend(bytes);
        }
    }

    fn source(&self, options: SinkOptions, beside: bool, found: bool) -> Source {
        let [stdout, stderr] = self.readers.each_ref().map(|fd| fd.try_clone().expect("clones"));
        let (service, generation, watch_for) = (name("web"), self.generation, None);
        Source { service, generation, beside, stdout, stderr, options, watch_for, found }
    }
}

/// What an incarnation of a kind writes for a byte of a step.
pub(super) type Own = fn(u8, u8) -> u8;

/// The service and its files.
struct Service<'a> {
    root: &'a Path,
    options: SinkOptions,
    own: Own,
    /// One or two.
    living: Vec<Incarnation>,
    ended: Vec<Incarnation>,
}

impl Service<'_> {
    fn pump(&self) -> Worker {
        let queue = Arc::new(Queue::new().expect("makes"));
        let limits = Limits { max_total: 1 << 40, min_free_percent: 0 };
        let transit = Some(self.root.join(".transit"));
        let set = Options { dir: self.root.to_owned(), limits, transit, notices: Box::new(drop) };
        let mut worker = Worker::new(set, queue, Arc::new(Pulse::new())).expect("sets up");
        worker.recover();
        worker
    }

    /// A pump as the next cafe starts it, which finds the processes one after the other.
    fn pump_of_the_next(&self) -> Worker {
        let mut pump = self.pump();
        for (number, incarnation) in self.living.iter().enumerate() {
            pump.attach(incarnation.source(self.options, number > 0, true));
        }
        pump
    }

    fn take(&mut self, step: &Step, pump: &mut Worker) {
        match step {
            Step::Write(pipe, bytes) => {
                if let Some(incarnation) = self.living.get_mut(pipe / 2) {
                    let own = |&byte| (self.own)(incarnation.kind, byte);
                    let bytes = bytes.iter().map(own).collect();
                    incarnation.write(pipe % 2, bytes);
                }
            }
            Step::Pull(pipe, most) => {
                if !pump.waits(0) {
                    pump.pull(0, *pipe, *most);
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
            Step::Overlap if self.living.len() > 1 => {}
            Step::Overlap => {
                let generation = (self.living.len() + self.ended.len()) as u64 + 1;
                let next = Incarnation::new(generation, 1 - self.living[0].kind);
                let source = next.source(self.options, true, false);
                self.living.push(next);
                pump.attach(source);
            }
            Step::End(which) => {
                if self.living.len() > 1 {
                    self.living[*which].gone = true;
                    let generation = self.living[*which].generation;
                    let (slot, lane) = pump.lane_of(&name("web"), generation).expect("is attached");
                    pump.finish_lane(slot, lane);
                    self.ended.push(self.living.remove(*which));
                }
            }
            Step::Suspend => {
                let suspended = pump.suspend();
                *pump = self.pump();
                suspended.into_iter().for_each(|service| pump.resume(service));
            }
        }
    }
}

/// All of `steps`, by as many pumps as are killed and one more: each dies at the point of its number. Returns all
/// incarnations, in the order of their beginning.
pub(super) fn live(
    root: &Path,
    options: SinkOptions,
    steps: &[Step],
    kills: &[u64],
    own: Own,
) -> Vec<Incarnation> {
    let living = vec![Incarnation::new(1, 0)];
    let mut service = Service { root, options, own, living, ended: Vec::new() };
    let mut kills = kills.iter();
    let mut next = 0;
    loop {
        let kill = kills.next().copied();
        let lived = catch_unwind(AssertUnwindSafe(|| {
            at(kill);
            let mut pump = service.pump_of_the_next();
            while let Some(step) = steps.get(next) {
                next += 1;
                service.take(step, &mut pump);
            }
            room(None);
            pump.retry_all();
            pump.finish(0);
            // A note that a kill tore is put in order by whatever is written next.
            pump.note(0, "the end");
        }));
        at(None);
        match lived {
            Ok(()) => break,
            Err(payload) if payload.is::<Killed>() => {}
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }
    let mut all = service.living;
    all.append(&mut service.ended);
    all.sort_by_key(|incarnation| incarnation.generation);
    all
}

fn live_alone(root: &Path, options: SinkOptions, steps: &[Step], kills: &[u64]) -> [Vec<u8>; 2] {
    live(root, options, steps, kills, |_, byte| byte).remove(0).written
}

pub(super) fn lines_of(written: &[u8]) -> Vec<Vec<u8>> {
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
        1 => Just(Step::Suspend),
    ]
}

pub(super) fn sizes() -> impl Strategy<Value = u64> {
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
        let [out, err] = live_alone(root.path(), options, &steps, &kills);
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
        let [out, _] = live_alone(root.path(), options, &steps, &kills);
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
        let [out, err] = live_alone(root.path(), options, &steps, &[kill, kill / 3, 2]);
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
        let [out, _] = live_alone(root.path(), options(), &steps, &[kill, kill / 2]);
        assert_eq!(lines_on(root.path(), Stream::Stdout), lines_of(&out), "{kill}");
    }
}
