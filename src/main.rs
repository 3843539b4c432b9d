//! argv to exit code; all of it is in `cli` and `daemon`.

use std::process::ExitCode;

use cafe::cli::Task;

fn main() -> ExitCode {
    cafe::cli::main(|task| match task {
        Task::Run(options) => cafe::daemon::run(&options),
        Task::CheckState => cafe::daemon::check_state(),
    })
}
