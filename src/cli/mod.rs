//! The command line: one verb in, one answer on stdout, one exit code.
//!
//! Works when the daemon is dead: it reads logs and config by itself and speaks to the control socket for
//! the rest. It imports `types`, `config`, `net::control` and `logs::read`, nothing that runs.

mod act;
mod arguments;
mod configs;
mod events;
mod exit;
mod failure;
mod help;
mod logs;
mod look;
mod names;
mod output;
mod places;
mod style;
mod table;
mod tree;
mod upgrade;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

pub use arguments::{Arguments, RunOptions};
pub use exit::Exit;
pub use places::logs_in;
pub use style::ColorChoice;

use arguments::{Command, ConfigCommand, RoleCommand};
use failure::Failure;
use output::{Format, Output};

/// What the daemon does, and not the command line.
#[derive(Debug)]
pub enum Task {
    /// `cafe run`.
    Run(RunOptions),
    /// `cafe role check-state`.
    CheckState,
}

type Outcome = Result<Exit, Failure>;

/// Reads the arguments of this process and does what they say. `run` is the daemon.
pub fn main(run: impl FnOnce(Task) -> ExitCode) -> ExitCode {
    clap_complete::CompleteEnv::with_factory(Arguments::command).complete();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let mut output = Output::new(&arguments.global);
    let outcome = match arguments.command {
        None => help::short(&mut output),
        Some(Command::Run(options)) => match output.refuse_json("run") {
            Ok(()) => return run(Task::Run(options.into_options(&arguments.global))),
            Err(failure) => Err(failure),
        },
        Some(Command::Role(RoleCommand::CheckState)) => return run(Task::CheckState),
        Some(command) => dispatch(command, &arguments.global, &mut output),
    };
    let code = match outcome.and_then(|exit| output.flush().map(|()| exit)) {
        Ok(exit) => exit,
        Err(failure) => failure.report(&mut output),
    };
    code.into()
}

fn dispatch(command: Command, global: &arguments::Global, output: &mut Output) -> Outcome {
    match command {
        Command::Run(_) | Command::Role(_) => unreachable!("taken by the caller"),
        Command::Status(arguments) => online(look::status(&arguments, global, output)),
        Command::Tree => online(tree::tree(global, output)),
        Command::Logs(arguments) => online(logs::logs(&arguments, global, output)),
        Command::Events(arguments) => online(events::events(&arguments, global, output)),
        Command::Start(arguments) => online(act::start(&arguments, global, output)),
        Command::Stop(arguments) => online(act::stop(&arguments, global, output)),
        Command::Restart(arguments) => online(act::restart(&arguments, global, output)),
        Command::Reload(arguments) => online(act::reload(&arguments, global, output)),
        Command::Kill(arguments) => online(act::kill(&arguments, global, output)),
        Command::Wait(arguments) => online(act::wait(&arguments, global, output)),
        Command::Upgrade(arguments) => online(upgrade::upgrade(&arguments, global, output)),
        Command::Shutdown(arguments) => match act::confirm_shutdown(global, output)? {
            true => online(act::shutdown(&arguments, global, output)),
            false => Ok(Exit::Failed),
        },
        Command::Config(ConfigCommand::Check(arguments)) => configs::check(&arguments, output),
        Command::Config(ConfigCommand::Diff(arguments)) => {
            online(configs::diff(&arguments, global, output))
        }
        Command::Config(ConfigCommand::Show) => online(configs::show(global, output)),
        Command::Explain(arguments) => help::explain(&arguments, output),
        Command::Completions(arguments) => help::completions(&arguments, output),
        Command::Man => help::man(output),
    }
}

/// Runs a verb that speaks to the daemon; the first Ctrl-C ends it, and nothing else.
fn online(verb: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system("cannot start the event loop", &error))?;
    runtime.block_on(async {
        tokio::select! {
            outcome = verb => outcome,
            Ok(()) = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    })
}

/// Help and version go to stdout and are success; everything else is a usage error.
fn usage(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    if exit == Exit::Usage && wants_json(std::env::args()) {
        let message = error.kind().to_string();
        let detail = error.to_string();
        let detail = detail.lines().next().unwrap_or(&message).trim_start_matches("error: ");
        return Failure::usage(detail).report(&mut Output::errors(Format::Json)).into();
    }
    // Nobody is left to tell when even this cannot be written.
    let _ = error.print();
    exit.into()
}

/// Whether the arguments ask for JSON, as far as can be told of arguments that make no sense.
fn wants_json(arguments: impl Iterator<Item = String>) -> bool {
    let mut before = String::new();
    for argument in arguments {
        let whole = matches!(argument.as_str(), "--json" | "-ojson" | "-o=json" | "--output=json");
        if whole || (argument == "json" && matches!(before.as_str(), "-o" | "--output")) {
            return true;
        }
        before = argument;
    }
    false
}
