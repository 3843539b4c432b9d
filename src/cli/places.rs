//! Where things are unless told: the socket, the config file, the logs.

use std::path::{Path, PathBuf};

use super::style::Environment;
use crate::config::{self, defaults};
use crate::types::status::Status;

/// A variable of this process.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The daemon's socket: as named, or where a daemon of this user listens by default, or else that of the machine: its
/// group may use it.
pub(super) fn socket(named: Option<PathBuf>) -> PathBuf {
    let usual = || [defaults::socket(&variable), PathBuf::from(defaults::MACHINE_SOCKET)];
    named.unwrap_or_else(|| first_there(&usual()))
}

/// The config file: as named, or the first that is there of `./cafe.ron`, the user's, the machine's.
pub(super) fn config_file(named: Option<PathBuf>) -> PathBuf {
    named.unwrap_or_else(|| first_there(&usual_configs(&variable)))
}

fn usual_configs(variable: Environment) -> Vec<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".config"));
    let own = absolute("XDG_CONFIG_HOME").or_else(home).map(|path| path.join("cafe/cafe.ron"));
    let all = [Some(PathBuf::from("cafe.ron")), own, Some(PathBuf::from("/etc/cafe/cafe.ron"))];
    all.into_iter().flatten().collect()
}

/// The first when none is there: then the error names what a newcomer should write.
fn first_there(paths: &[PathBuf]) -> PathBuf {
    let there = paths.iter().find(|path| path.try_exists().unwrap_or(true));
    there.or(paths.first()).cloned().unwrap_or_default()
}

/// Where logs are: as the daemon said; if it is dead, as the config does; else where they are by default.
pub(super) fn logs_dir(status: Option<&Status>) -> PathBuf {
    let state_dir = match status {
        Some(status) => PathBuf::from(&status.daemon.state_dir),
        None => match config::load(&config_file(None), &variable) {
            Ok(config) => config.daemon.state_dir,
            Err(_) => defaults::state_dir(&variable),
        },
    };
    logs_in(&state_dir)
}

/// The directory of all logs in a state directory.
pub fn logs_in(state_dir: &Path) -> PathBuf {
    state_dir.join("logs")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{first_there, usual_configs};

    #[test]
    fn the_nearest_config_is_taken() {
        let home = |name: &str| (name == "HOME").then(|| "/home/ada".to_owned());
        let paths = usual_configs(&home);
        let expected = ["cafe.ron", "/home/ada/.config/cafe/cafe.ron", "/etc/cafe/cafe.ron"];
        assert_eq!(paths, expected.map(PathBuf::from));
        let directory = tempfile::tempdir().expect("temp dir");
        let there = directory.path().join("there.ron");
        std::fs::write(&there, "").expect("written");
        let missing = directory.path().join("missing.ron");
        assert_eq!(first_there(&[missing.clone(), there.clone()]), there);
        assert_eq!(first_there(std::slice::from_ref(&missing)), missing);
        assert_eq!(first_there(&[]), Path::new(""));
    }
}
