//! Files that cannot be written: full disks, real and made.

use std::io::{BufRead as _, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::{Bench, name, options};
use crate::logs::dir;
use crate::logs::pump::{Notice, SinkOptions};
use crate::types::policy::OnFull;

/// A log directory on which `current` cannot be written: `/dev/full` in its place.
fn fill(bench: &Bench, service: &str) -> PathBuf {
    let directory = dir::of(&bench.root, &name(service));
    std::fs::create_dir_all(&directory).expect("makes");
    let current = directory.join(dir::CURRENT);
    std::os::unix::fs::symlink("/dev/full", &current).expect("links");
    current
}

/// A pipe in place of `current`: once it is full, a write neither succeeds nor fails.
#[test]
fn a_file_system_that_hangs_is_noticed_and_nothing_is_lost() {
    let bench = Bench::new();
    let directory = dir::of(&bench.root, &name("web"));
    std::fs::create_dir_all(&directory).expect("makes");
    let current = directory.join(dir::CURRENT);
    nix::unistd::mkfifo(&current, nix::sys::stat::Mode::S_IRWXU).expect("makes");
    let both = std::fs::OpenOptions::new().read(true).write(true).open(&current).expect("opens");
    let mut child = bench.attach("web", 1, options());
    let writer = std::thread::spawn(move || {
        (0..20_000).for_each(|number| writeln!(child.stdout, "{number}").expect("writes"));
    });
    while bench.pump.0.pulse.turn() < Duration::from_millis(300) {
        std::thread::yield_now();
    }
    let mut lines = std::io::BufReader::new(both).lines().map(|line| line.expect("reads"));
    assert!(lines.any(|line| line.ends_with(" 19999")), "all was written in the end");
    writer.join().expect("does not wait any more");
    while bench.pump.0.pulse.turn() > Duration::ZERO {
        std::thread::yield_now();
    }
}

#[test]
fn on_full_drop_counts_exactly_and_says_so_in_place() {
    let bench = Bench::new();
    let current = fill(&bench, "web");
    let mut child = bench.attach("web", 1, SinkOptions { on_full: OnFull::Drop, ..options() });
    child.stdout.write_all(b"held\n").expect("writes");
    assert!(matches!(bench.notice(), Notice::WriteFailed { .. }));
    for number in 0..20_000 {
        writeln!(child.stdout, "{number}").expect("never waits for the disk");
    }
    let excerpt = bench.finish("web", 1);
    assert_eq!(excerpt.lines.last().map(String::as_str), Some("19999"));
    let mut child = bench.attach("web", 2, options());
    std::fs::remove_file(current).expect("removes");
    let Notice::Dropped { lines, .. } = bench.notice() else { panic!("nothing dropped") };
    assert_eq!(lines, 20_000);
    child.stdout.write_all(b"after\n").expect("writes");
    bench.finish("web", 2);
    let lines = bench.payloads("web");
    assert_eq!(lines.len(), 3);
    assert_eq!((&*lines[0], &*lines[2]), ("held", "after"));
    assert!(lines[1].starts_with("dropped 20000 lines in "), "{}", lines[1]);
}

#[test]
fn on_full_block_waits_and_loses_nothing_while_others_go_on() {
    let bench = Bench::new();
    let current = fill(&bench, "web");
    let child = bench.attach("web", 1, options());
    let mut out = child.stdout;
    let writer = std::thread::spawn(move || {
        (0..50_000).for_each(|number| writeln!(out, "{number}").expect("writes"));
    });
    let Notice::WriteFailed { error, .. } = bench.notice() else { panic!("not failed") };
    assert!(error.contains("space"), "{error}");
    let mut other = bench.attach("other", 1, options());
    other.stdout.write_all(b"goes on\n").expect("writes");
    assert_eq!(bench.finish("other", 1).lines, ["goes on"]);
    assert_eq!(bench.payloads("other"), ["goes on"]);
    assert!(matches!(bench.notice(), Notice::Blocked { .. }));
    assert!(!writer.is_finished(), "it waits");
    std::fs::remove_file(current).expect("removes");
    assert!(matches!(bench.notice(), Notice::Unblocked { .. }));
    writer.join().expect("writes all");
    bench.finish("web", 1);
    let expected: Vec<_> = (0..50_000).map(|number| number.to_string()).collect();
    assert!(bench.payloads("web") == expected, "every line once, in order");
}

/// A small file system that is really full: writes end in the middle of lines.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mounted = nix::mount::mount(
            Some("tmpfs"),
            directory.path(),
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some(size),
        );
        mounted.is_ok().then(|| Self(directory))
    }

    fn grow(&self, size: &str) {
        let flags = nix::mount::MsFlags::MS_REMOUNT;
        nix::mount::mount(None::<&str>, self.0.path(), None::<&str>, flags, Some(size))
            .expect("remounts");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_neither_loses_nor_doubles_a_byte() {
    let Some(small) = Small::mount("size=200k") else {
        let _ = writeln!(std::io::stderr(), "skipped: mounting a small file system needs root");
        return;
    };
    let bench = Bench::at(small.0.path());
    let child = bench.attach("web", 1, options());
    let mut out = child.stdout;
    let writer = std::thread::spawn(move || {
        (0..60_000).for_each(|number| writeln!(out, "{number}").expect("writes"));
    });
    assert!(matches!(bench.notice(), Notice::WriteFailed { .. }));
    assert!(matches!(bench.notice(), Notice::Blocked { .. }));
    small.grow("size=8m");
    assert!(matches!(bench.notice(), Notice::Unblocked { .. }));
    writer.join().expect("writes all");
    bench.finish("web", 1);
    let expected: Vec<_> = (0..60_000).map(|number| number.to_string()).collect();
    assert!(bench.payloads("web") == expected, "every line once, in order");
    bench.pump.stop();
}
