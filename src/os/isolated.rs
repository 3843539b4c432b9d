//! Runs one test in a process of its own, for what belongs to a whole process: its children, its signals.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::process::{Command, Spawner};
use crate::types::exit::Cause;

const INSIDE: &str = "CAFE_TEST_INSIDE";

/// Runs `body` if this is the process made for the test `name`, else makes it and expects that it succeeds.
pub(crate) async fn in_own_process(name: &str, body: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        return body.await;
    }
    let directory = tempfile::tempdir().expect("makes a directory");
    let path = directory.path().join("output");
    let output = Arc::new(OwnedFd::from(File::create(&path).expect("creates")));
    let program = std::env::current_exe().expect("is known");
    let arguments = [name, "--exact", "--nocapture"].map(OsString::from);
    let command = Command {
        argv: std::iter::once(program.into_os_string()).chain(arguments).collect(),
        env: std::env::vars_os().chain([(INSIDE.into(), "1".into())]).collect(),
        cwd: std::env::current_dir().expect("is known"),
        descriptors: vec![(1, Arc::clone(&output)), (2, output)],
        ..Command::default()
    };
    let child = Spawner::with_threads(1).expect("starts").spawn(command).await.expect("starts");
    let exit = child.wait().await.expect("ends");
    let text = std::fs::read_to_string(&path).expect("reads");
    assert_eq!(exit.cause, Cause::Code(0), "{text}");
    assert!(text.contains("1 passed"), "the name is not that of a test: {text}");
}
