//! argv to exit code; all of it is in `cli` and `daemon`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cafe::cli::main(|options| cafe::daemon::run(&options))
}
