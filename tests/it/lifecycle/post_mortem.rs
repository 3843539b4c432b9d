//! What is kept of an end.

use cafe::types::event::Kind;
use cafe::types::exit::{Cause, PostMortem};

use crate::harness::{Cafe, IDLE, sh};

/// The post-mortem of the first end of `name`, from the events: complete when it is told.
async fn first_end(cafe: &Cafe, name: &str) -> PostMortem {
    cafe.wait_event("the end", |event| match &event.kind {
        Kind::Exit { service, post_mortem } if service.as_str() == name => {
            Some(PostMortem::clone(post_mortem))
        }
        _ => None,
    })
    .await
}

#[tokio::test]
async fn an_end_by_itself_tells_all_there_is_to_tell() {
    // Some CPU time first, so that there is something to account.
    let script =
        "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo first; echo second >&2; exit 3";
    let service = format!("(command: {}, restart: temporary)", sh(script));
    let cafe = Cafe::start(&format!("services: {{ \"a\": {service} }},")).await;

    let end = first_end(&cafe, "a").await;

    assert_eq!(end.cause, Cause::Code(3));
    assert_eq!((end.generation, end.trigger.as_str()), (1, "ended by itself"));
    assert!(end.pid.is_some());
    assert!(end.run_ms > 0);
    let usage = end.usage.expect("an account of its resources");
    assert!(usage.user_ms + usage.system_ms > 0 && usage.max_memory_bytes > 0, "{usage:?}");
    assert!(usage.user_ms + usage.system_ms <= end.run_ms + 10, "{usage:?} in {} ms", end.run_ms);
    let lines = &end.last_lines;
    assert!(lines.iter().any(|line| line.ends_with("first")), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("second")), "{lines:?}");
    assert_eq!(end.pulled_down, [""; 0]);
    let shown = cafe.service("a").await.exits;
    assert_eq!(shown, [end], "the status shows the same");
}

#[tokio::test]
async fn an_end_names_whom_it_took_along_and_they_name_it() {
    let (idle, ends) = (sh(IDLE), sh("read go <gate; kill -SEGV $$"));
    let mut cafe = Cafe::new(&format!(
        r#"services: {{
            "a": (command: {ends}, backoff: (min: "1ms", max: "1ms")),
            "b": (command: {idle}),
            "c": (command: {idle}),
        }},
        groups: {{ "all": (strategy: rest_for_one, services: ["a", "b", "c"]) }},"#
    ));
    cafe.fifo("gate");
    cafe.boot().await;
    cafe.wait_service("c", "up", |c| c.state.is_up()).await;
    let _gate = cafe.open_gate("gate");

    let end = first_end(&cafe, "a").await;
    assert!(matches!(end.cause, Cause::Signal { signal: 11, .. }), "{:?}", end.cause);
    assert_eq!(end.pulled_down, ["b", "c"]);
    for name in ["b", "c"] {
        let along = first_end(&cafe, name).await;
        assert_eq!(along.cause, Cause::Signal { signal: 15, core: false });
        assert_eq!(along.trigger, "restarts with `a`, which went down");
    }
}
