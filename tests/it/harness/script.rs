//! Commands of services: `bash` and coreutils alone, as a fresh machine has no more.

/// The last line of a script that only waits for signals: handled at once, and without another process.
///
/// `never` is a FIFO in the directory of every test daemon, where services start. A shell misses a signal that comes just
/// before it begins to wait: it looks again after a second.
pub(crate) const IDLE: &str = "exec 9<>never; while :; do read -t 1 nothing <&9; done";

/// A shell script as a `command` of `cafe.ron`.
pub(crate) fn sh(script: &str) -> String {
    command(&["bash", "-c", script])
}

/// A command of `cafe.ron`; nothing in it is a variable of cafe.
pub(crate) fn command(argv: &[&str]) -> String {
    let quoted = argv.iter().map(|word| {
        // What JSON writes is what RON reads.
        serde_json::to_string(&word.replace("${", "$${")).expect("a string")
    });
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}
