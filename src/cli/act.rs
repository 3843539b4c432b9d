//! Verbs that change something: start, stop, restart, reload, kill, wait, shutdown.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::Outcome;
use super::arguments::{
    ActArguments, Global, KillArguments, ReloadArguments, RestartArguments, ShutdownArguments,
    WaitArguments,
};
use super::configs::reloaded;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Format, Output};
use super::style::tame;
use crate::net::control::{self, Acted, Change, Client, Outcome as Came, Verb};
use crate::types::error::{Code, Problem};
use crate::types::status::{SCHEMA, Service};
use crate::types::unit::show_duration;

/// Requests under way at once; the daemon takes 256 connections.
const PARALLEL: usize = 64;

pub(super) async fn start(
    arguments: &ActArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    act(Verb::Start, arguments, global, output).await
}

pub(super) async fn stop(
    arguments: &ActArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    act(Verb::Stop, arguments, global, output).await
}

pub(super) async fn restart(
    arguments: &RestartArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    let verb = if arguments.overlap { Verb::Overlap } else { Verb::Restart };
    act(verb, &arguments.act, global, output).await
}

pub(super) async fn kill(
    arguments: &KillArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    act(Verb::Kill { signal: arguments.signal }, &arguments.act, global, output).await
}

/// With names: of services. Without: of cafe's own config file.
pub(super) async fn reload(
    arguments: &ReloadArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    if arguments.names.is_empty() {
        return reloaded(&global.client().reload(global.dry_run).await?, output);
    }
    let ReloadArguments { names, message } = arguments;
    let arguments = ActArguments { names: names.clone(), message: message.clone() };
    act(Verb::Reload, &arguments, global, output).await
}

async fn act(
    verb: Verb,
    arguments: &ActArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    let client = global.client();
    if global.dry_run {
        return would(verb, &arguments.names, &client, output).await;
    }
    let (wait, why) = (global.wait(), arguments.message.clone());
    let answers = each(&client, &arguments.names, move |client, name| {
        let why = why.clone();
        async move { client.act(verb, &name, why.as_deref(), wait).await }
    });
    let mut exit = Exit::Done;
    for (name, answer) in arguments.names.iter().zip(answers.await) {
        exit = exit.worse(match answer {
            Ok(acted) => told(verb, &acted, output)?,
            Err(error) => Failure::from(error)
                .while_doing(&format!("cannot {verb} \"{name}\""))
                .report(output),
        });
    }
    Ok(exit)
}

/// What `verb` would concern, without doing it.
async fn would(verb: Verb, names: &[String], client: &Client, output: &mut Output) -> Outcome {
    let mut exit = Exit::Done;
    for name in names {
        let services = match client.status(Some(name)).await {
            Ok(status) => status.services,
            Err(error) => {
                exit = exit.worse(Failure::from(error).report(output));
                continue;
            }
        };
        if output.format() == Format::Json {
            let names: Vec<_> = services.iter().map(|service| &service.name).collect();
            output.json(&json!({
                "schema": SCHEMA, "dry_run": true, "verb": verb.as_str(), "name": name, "services": names,
            }))?;
            continue;
        }
        for service in services {
            let now = with_pid(service.state.as_str(), service.pid);
            output.write(&match output.format() {
                Format::Plain => format!("{}\t{verb}\t{}\n", service.name, service.state),
                _ => format!("would {verb} {}, now {now}\n", service.name),
            })?;
        }
    }
    Ok(exit)
}

/// Prints what came of a verb; what failed goes to stderr.
fn told(verb: Verb, acted: &Acted, output: &mut Output) -> Outcome {
    if output.format() == Format::Json {
        output.json(acted)?;
    }
    let mut exit = Exit::Done;
    for change in &acted.services {
        exit = exit.worse(match change.outcome {
            Came::Changed | Came::Unchanged => Exit::Done,
            Came::Failed => Exit::Failed,
            Came::Pending => Exit::TimedOut,
        });
        match (output.format(), change.outcome) {
            (Format::Json, _) => {}
            (Format::Plain, outcome) => output.write(&record(change, outcome))?,
            (Format::Human, outcome @ (Came::Failed | Came::Pending)) => {
                let code = match outcome {
                    Came::Pending => Code::TimedOut,
                    _ => Code::OperationFailed,
                };
                let message =
                    format!("cannot {verb} \"{}\": {}", change.name, tame(&change.reason));
                let problem =
                    Problem::new(code, message).hint(format!("cafe status {}", change.name));
                Failure::Told(problem).report(output);
            }
            (Format::Human, _) => {
                output.write(&sentence(verb, change, Duration::from_millis(acted.took_ms)))?;
            }
        }
    }
    Ok(exit)
}

/// Name, outcome, state, pid, reason.
fn record(change: &Change, outcome: Came) -> String {
    let outcome = match outcome {
        Came::Changed => "changed",
        Came::Unchanged => "unchanged",
        Came::Failed => "failed",
        Came::Pending => "pending",
    };
    let pid = change.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    format!("{}\t{outcome}\t{}\t{pid}\t{}\n", change.name, change.to, tame(&change.reason))
}

/// `restarted web (pid 812 -> 940), ready after 400ms; see: cafe logs web`.
pub(super) fn sentence(verb: Verb, change: &Change, took: Duration) -> String {
    let Change { name, to, .. } = change;
    if change.outcome == Came::Unchanged {
        return format!("{name} is already {}\n", with_pid(to.as_str(), change.pid));
    }
    let took = show_duration(took);
    let process = match (change.pid_before, change.pid) {
        (Some(before), Some(now)) if before != now => format!(" (pid {before} -> {now})"),
        (_, Some(now)) => format!(" (pid {now})"),
        (Some(before), None) => format!(" (pid {before})"),
        (None, None) => String::new(),
    };
    match verb {
        Verb::Start => {
            format!("started {name}{process}, {to} after {took}; see: cafe logs {name}\n")
        }
        Verb::Restart | Verb::Overlap => {
            format!("restarted {name}{process}, {to} after {took}; see: cafe logs {name}\n")
        }
        Verb::Stop => format!("stopped {name}{process} after {took}\n"),
        Verb::Reload => format!("reloaded {name}{process}, {to}\n"),
        Verb::Kill { signal } => {
            let signal = crate::types::exit::signal_name(signal);
            format!("sent {signal} to {name}{process}, {to}\n")
        }
    }
}

fn with_pid(state: &str, pid: Option<u32>) -> String {
    pid.map_or_else(|| state.to_owned(), |pid| format!("{state} (pid {pid})"))
}

/// `cafe wait NAME --for ready`.
pub(super) async fn wait(
    arguments: &WaitArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    let (goal, timeout) = (arguments.goal(), global.wait());
    let client = global.client();
    let answers = each(&client, &arguments.names, move |client, name| async move {
        client.wait(&name, goal, timeout).await
    });
    let mut exit = Exit::Done;
    for (name, answer) in arguments.names.iter().zip(answers.await) {
        exit = exit.worse(match answer {
            Ok(service) => {
                reached(&service, goal.as_str(), output)?;
                Exit::Done
            }
            Err(error) => {
                let missed = error.code() == Code::OperationFailed;
                let failure = Failure::from(error);
                let told = failure.while_doing(&format!("\"{name}\" is not {goal}")).report(output);
                if missed { Exit::NotRunning } else { told }
            }
        });
    }
    Ok(exit)
}

fn reached(service: &Service, goal: &str, output: &mut Output) -> Result<(), Failure> {
    let Service { name, state, pid, .. } = service;
    match output.format() {
        Format::Json => output.json(&json!({ "schema": SCHEMA, "for": goal, "service": service })),
        Format::Plain => output.write(&super::look::records(std::slice::from_ref(service))),
        Format::Human => output.write(&format!("{name} is {}\n", with_pid(state.as_str(), *pid))),
    }
}

/// Asks before everything is stopped. Before the event loop: reading an answer blocks.
pub(super) fn confirm_shutdown(global: &Global, output: &mut Output) -> Result<bool, Failure> {
    if global.yes || global.dry_run {
        return Ok(true);
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let message = "shutdown stops every service, and nobody can be asked here: add --yes";
        return Err(Failure::usage(message));
    }
    output.complain("This stops every service, then cafe. Continue? [y/N] ");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(|error| Failure::system("cannot read", &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// `cafe shutdown`: begins it, then waits until the daemon has gone.
pub(super) async fn shutdown(
    arguments: &ShutdownArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    let client = global.client();
    if global.dry_run {
        let count = client.status(None).await?.services.len();
        match output.format() {
            Format::Json => {
                output.json(&json!({ "schema": SCHEMA, "dry_run": true, "services": count }))?
            }
            _ => output.write(&format!("would stop {count} services, then cafe\n"))?,
        }
        return Ok(Exit::Done);
    }
    // Opened before: this stream ends when the daemon does.
    let mut events = client.events(None).await?;
    client.shutdown(arguments.message.as_deref()).await?;
    output.remark("stopping all services\n");
    let gone = async { while let Ok(Some(_)) = events.next().await {} };
    if tokio::time::timeout(global.wait(), gone).await.is_err() {
        let after = show_duration(global.wait());
        let problem = Problem::new(Code::TimedOut, format!("cafe still runs after {after}"))
            .hint("it goes on stopping; `cafe status` shows what it waits for");
        return Err(Failure::Told(problem));
    }
    match output.format() {
        Format::Json => output.json(&json!({ "schema": SCHEMA, "stopped": true }))?,
        _ => output.write("cafe has stopped\n")?,
    }
    Ok(Exit::Done)
}

/// The answers for all names, in their order, asked for side by side.
async fn each<T, F>(
    client: &Client,
    names: &[String],
    ask: impl Fn(Client, String) -> F,
) -> Vec<Result<T, control::Error>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, control::Error>> + Send + 'static,
{
    let mut answers = Vec::with_capacity(names.len());
    for names in names.chunks(PARALLEL) {
        let mut asked = JoinSet::new();
        for (number, name) in names.iter().enumerate() {
            let answer = ask(client.clone(), name.clone());
            asked.spawn(async move { (number, answer.await) });
        }
        let mut some = asked.join_all().await;
        some.sort_by_key(|(number, _)| *number);
        answers.extend(some.into_iter().map(|(_, answer)| answer));
    }
    answers
}
