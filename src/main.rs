//! argv to exit code; all of it is in `cli` and `daemon`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cafe::cli::main(run)
}

/// The daemon: to be `cafe::daemon::run(options)`, once that is there.
fn run(_options: cafe::cli::RunOptions) -> ExitCode {
    ExitCode::FAILURE
}
