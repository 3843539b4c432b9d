//! Two incarnations of a service at once: both are heard, and the end of one is not that of the other.

use std::io::Write;

use super::{Bench, Child, Source, name, options, source};
use crate::logs::pump::Notice;

impl Bench {
    pub(super) fn attach_beside(
        &self,
        service: &str,
        generation: u64,
        wanted: Option<&str>,
    ) -> Child {
        let watch_for = wanted.map(|wanted| wanted.parse().expect("regex"));
        let (source, child) = source(service, generation, options());
        self.pump.attach(Source { watch_for, beside: true, ..source }).expect("attaches");
        child
    }

    /// What was written to the log so far, once all of it was read.
    fn written(&self, service: &str) -> Vec<String> {
        let excerpt = self.pump.excerpt(name(service)).expect("accepts");
        excerpt.blocking_recv().expect("answers");
        self.payloads(service)
    }
}

#[test]
fn the_end_of_one_leaves_the_other_attached() {
    let bench = Bench::new();
    let mut old = bench.attach("web", 1, options());
    // Old and new change places each time.
    for generation in 2..6 {
        let mut new = bench.attach_beside("web", generation, None);
        writeln!(new.stdout, "{generation} is there").expect("writes");
        writeln!(old.stdout, "{} goes", generation - 1).expect("writes");
        let last = bench.finish("web", generation - 1).lines;
        assert!(last.contains(&format!("{} goes", generation - 1)), "{last:?}");
        old = new;
    }
    bench.finish("web", 5);
    let mut lines = bench.payloads("web");
    lines.sort();
    let mut expected: Vec<_> = (2..6).map(|next| format!("{next} is there")).collect();
    expected.extend((1..5).map(|last| format!("{last} goes")));
    expected.sort();
    assert_eq!(lines, expected);
}

#[test]
fn the_next_that_fails_leaves_the_other_attached() {
    let bench = Bench::new();
    let mut old = bench.attach("web", 1, options());
    for generation in 2..5 {
        let mut next = bench.attach_beside("web", generation, None);
        next.stderr.write_all(b"no such file").expect("writes");
        let last = bench.finish("web", generation).lines;
        assert_eq!(last.last().map(String::as_str), Some("no such file"));
    }
    old.stdout.write_all(b"still here\n").expect("writes");
    assert_eq!(bench.finish("web", 1).lines.last().map(String::as_str), Some("still here"));
    assert_eq!(bench.written("web").len(), 4);
}

#[test]
fn a_line_is_waited_for_in_the_next_alone() {
    let bench = Bench::new();
    let mut old = bench.attach_watching("web", 1, options(), Some("^ready$"));
    old.stdout.write_all(b"ready\n").expect("writes");
    let matched =
        |generation| Notice::Matched { service: name("web"), generation, line: "ready".to_owned() };
    assert_eq!(bench.notice(), matched(1));
    let mut next = bench.attach_beside("web", 2, Some("^ready$"));
    old.stdout.write_all(b"ready\n").expect("writes");
    next.stdout.write_all(b"ready\n").expect("writes");
    assert_eq!(bench.notice(), matched(2));
    bench.finish("web", 1);
    bench.finish("web", 2);
    assert!(bench.notices.try_recv().is_err());
    assert_eq!(bench.payloads("web"), ["ready"; 3]);
}
