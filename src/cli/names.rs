//! Names for completions: asked from the daemon, which has 100 ms to answer; none is a fine answer.

use std::time::Duration;

use clap_complete::CompletionCandidate;

use super::places::{socket, variable};
use crate::net::control::Client;
use crate::types::error::Code;

/// Longer would be felt as a shell that hangs.
const PATIENCE: Duration = Duration::from_millis(100);

/// Services and groups of the running daemon.
pub(super) fn candidates() -> Vec<CompletionCandidate> {
    let named = variable("CAFE_SOCKET").map(Into::into);
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

/// Error codes.
pub(super) fn codes() -> Vec<CompletionCandidate> {
    let known = Code::ALL.iter();
    known
        .map(|code| CompletionCandidate::new(code.as_str()).help(Some(code.title().into())))
        .collect()
}
