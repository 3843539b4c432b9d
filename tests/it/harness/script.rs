//! Commands of services: `sh` and coreutils alone, as a fresh machine has no more.

/// The last line of a script that only waits for signals: handled at once, and without another process.
///
/// `never` is a FIFO in the directory of every test daemon, where services start.
pub(crate) const IDLE: &str = "exec 9<>never; while :; do read nothing <&9; done";

/// A shell script as a `command` of `cafe.ron`.
pub(crate) fn sh(script: &str) -> String {
    command(&["sh", "-c", script])
}

/// A command of `cafe.ron`; nothing in it is a variable of cafe.
pub(crate) fn command(argv: &[&str]) -> String {
    let quoted = argv.iter().map(|word| {
        // What JSON writes is what RON reads.
        serde_json::to_string(&word.replace("${", "$${")).expect("a string")
    });
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}
