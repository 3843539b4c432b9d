//! `cafe upgrade`: has the daemon become another program, and waits until that answers.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Outcome;
use super::arguments::{Global, UpgradeArguments};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Format, Output};
use super::style::tame;
use crate::net::control::Client;
use crate::types::error::{Code, Problem};
use crate::types::status::{Daemon, SCHEMA, Upgrade};
use crate::types::unit::show_duration;

/// `cafe upgrade [BINARY]`.
pub(super) async fn upgrade(
    arguments: &UpgradeArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    let client = global.client_within(global.wait());
    let binary = arguments.binary.as_deref().map(absolute).transpose()?;
    let before = client.daemon().await?;
    if global.dry_run {
        return would(binary.as_deref(), &before, output);
    }
    client.upgrade(binary.as_deref().and_then(Path::to_str)).await?;
    let waited = tokio::time::timeout(global.wait(), outcome(&client, &before)).await;
    let Ok(daemon) = waited else {
        let after = show_duration(global.wait());
        let message = format!("cafe has not become another program after {after}");
        return Err(Failure::Told(Problem::new(Code::TimedOut, message)));
    };
    told(&daemon?, output)
}

/// Asks until what was begun is over. While it goes on a connection waits, or is cut.
async fn outcome(client: &Client, before: &Daemon) -> Result<Daemon, Failure> {
    loop {
        if let Ok(daemon) = client.daemon().await {
            if daemon.pid != before.pid || daemon.since != before.since {
                let message = "cafe was started anew meanwhile; what ran was taken over";
                return Err(Failure::Told(Problem::new(Code::UpgradeRefused, message)));
            }
            if daemon.last_upgrade != before.last_upgrade {
                return Ok(daemon);
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn told(daemon: &Daemon, output: &mut Output) -> Outcome {
    let Some(upgrade) = &daemon.last_upgrade else { return Ok(Exit::Done) };
    if let Some(why) = &upgrade.failed {
        let problem = Problem::new(Code::UpgradeRefused, tame(why));
        return Err(Failure::Told(
            problem.hint("the cafe that ran before goes on, and every service"),
        ));
    }
    let Upgrade { from, to, pause_ms, .. } = upgrade;
    match output.format() {
        Format::Json => output.json(&json!({ "schema": SCHEMA, "upgrade": upgrade }))?,
        _ => output
            .write(&format!("cafe {from} is cafe {to} now, after a pause of {pause_ms} ms\n"))?,
    }
    Ok(Exit::Done)
}

fn would(binary: Option<&Path>, daemon: &Daemon, output: &mut Output) -> Outcome {
    let shown = binary
        .map_or_else(|| "what has its name now".to_owned(), |path| path.display().to_string());
    match output.format() {
        Format::Json => {
            output.json(&json!({ "schema": SCHEMA, "dry_run": true, "binary": binary }))?
        }
        _ => output
            .write(&format!("would try {shown}, and have cafe {} become it\n", daemon.version))?,
    }
    Ok(Exit::Done)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::system("cannot find the program", &error))
}
