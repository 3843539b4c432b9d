//! Names: of the daemon's socket, and of services for completions, asked from the daemon, which has 100 ms to answer; none is a fine answer.

use std::path::PathBuf;
use std::time::Duration;

use clap_complete::CompletionCandidate;

use super::style::Environment;
use crate::net::control::Client;
use crate::types::error::Code;

/// Longer would be felt as a shell that hangs.
const PATIENCE: Duration = Duration::from_millis(100);

/// Services and groups of the running daemon.
pub(super) fn candidates() -> Vec<CompletionCandidate> {
    let named = std::env::var_os("CAFE_SOCKET").map(Into::into);
    let client = Client::new(socket(named), PATIENCE);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let Ok(status) = runtime.block_on(client.status(None)) else { return Vec::new() };
    let services = status.services.into_iter().map(|service| {
        CompletionCandidate::new(service.name.to_string())
            .help(Some(service.state.to_string().into()))
    });
    let groups = status
        .groups
        .into_iter()
        .map(|group| CompletionCandidate::new(group.name.to_string()).help(Some("group".into())));
    services.chain(groups).collect()
}

/// The daemon's socket: as named, or where a daemon of this user listens by default.
pub(super) fn socket(named: Option<PathBuf>) -> PathBuf {
    named.unwrap_or_else(|| {
        usual_socket(nix::unistd::geteuid().as_raw(), &|name| std::env::var(name).ok())
    })
}

fn usual_socket(user: u32, variable: Environment) -> PathBuf {
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    match (user, runtime) {
        (0, _) => PathBuf::from("/run/cafe/control.sock"),
        (_, Some(directory)) => directory.join("cafe/control.sock"),
        (user, None) => PathBuf::from(format!("/tmp/cafe-{user}/control.sock")),
    }
}

/// Error codes.
pub(super) fn codes() -> Vec<CompletionCandidate> {
    let known = Code::ALL.iter();
    known
        .map(|code| CompletionCandidate::new(code.as_str()).help(Some(code.title().into())))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::usual_socket;

    #[test]
    fn the_socket_is_where_a_daemon_of_the_same_user_puts_it() {
        let runtime = |name: &str| (name == "XDG_RUNTIME_DIR").then(|| "/run/user/7".to_owned());
        let nothing = |_: &str| None;
        let relative = |_: &str| Some("run".to_owned());
        assert_eq!(usual_socket(0, &runtime), Path::new("/run/cafe/control.sock"));
        assert_eq!(usual_socket(7, &runtime), Path::new("/run/user/7/cafe/control.sock"));
        assert_eq!(usual_socket(7, &nothing), Path::new("/tmp/cafe-7/control.sock"));
        assert_eq!(usual_socket(7, &relative), Path::new("/tmp/cafe-7/control.sock"));
    }
}
