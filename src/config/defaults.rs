//! Where the daemon keeps its socket and state unless told: root in the system's directories, others in their
//! own (XDG Base Directory Specification). Never creates anything.

use std::path::PathBuf;

use nix::unistd::Uid;

/// The control socket of a daemon of root.
pub const MACHINE_SOCKET: &str = "/run/cafe/control.sock";

type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The control socket: `/run/cafe/control.sock`, or `$XDG_RUNTIME_DIR/cafe/control.sock`, or
/// `/tmp/cafe-UID/control.sock`.
#[must_use]
pub fn socket(environment: Environment<'_>) -> PathBuf {
    socket_of(Uid::effective(), environment)
}

/// Logs and state: `/var/lib/cafe`, or `$XDG_STATE_HOME/cafe`, or `~/.local/state/cafe`.
#[must_use]
pub fn state_dir(environment: Environment<'_>) -> PathBuf {
    state_dir_of(Uid::effective(), environment)
}

/// How many services may be starting at once: twice the cores, four at least.
pub(super) fn parallel_starts() -> usize {
    std::thread::available_parallelism().map_or(4, |cores| (2 * cores.get()).max(4))
}

fn socket_of(user: Uid, environment: Environment<'_>) -> PathBuf {
    if user.is_root() {
        return PathBuf::from(MACHINE_SOCKET);
    }
    let directory = absolute(environment, "XDG_RUNTIME_DIR").map(|path| path.join("cafe"));
    directory.unwrap_or_else(|| temporary(user)).join("control.sock")
}

fn state_dir_of(user: Uid, environment: Environment<'_>) -> PathBuf {
    if user.is_root() {
        return PathBuf::from("/var/lib/cafe");
    }
    let home = || Some(absolute(environment, "HOME")?.join(".local/state"));
    let directory = absolute(environment, "XDG_STATE_HOME").or_else(home);
    directory.map_or_else(|| temporary(user).join("state"), |path| path.join("cafe"))
}

/// The specification says that relative paths are to be ignored.
fn absolute(environment: Environment<'_>, name: &str) -> Option<PathBuf> {
    environment(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn temporary(user: Uid) -> PathBuf {
    PathBuf::from(format!("/tmp/cafe-{user}"))
}

#[cfg(test)]
mod tests {
    use super::{socket_of, state_dir_of};
    use nix::unistd::Uid;
    use std::path::Path;

    #[test]
    fn root_has_the_directories_of_the_system() {
        let environment = |name: &str| Some(format!("/of-a-user/{name}"));
        let root = Uid::from_raw(0);
        assert_eq!(socket_of(root, &environment), Path::new("/run/cafe/control.sock"));
        assert_eq!(state_dir_of(root, &environment), Path::new("/var/lib/cafe"));
    }

    #[test]
    fn others_have_their_own_directories() {
        let user = Uid::from_raw(1000);
        let full = |name: &str| match name {
            "XDG_RUNTIME_DIR" => Some("/run/user/1000".to_owned()),
            "XDG_STATE_HOME" => Some("relative/is/ignored".to_owned()),
            "HOME" => Some("/home/ada".to_owned()),
            _ => None,
        };
        assert_eq!(socket_of(user, &full), Path::new("/run/user/1000/cafe/control.sock"));
        assert_eq!(state_dir_of(user, &full), Path::new("/home/ada/.local/state/cafe"));
        let bare = |_: &str| None;
        assert_eq!(socket_of(user, &bare), Path::new("/tmp/cafe-1000/control.sock"));
        assert_eq!(state_dir_of(user, &bare), Path::new("/tmp/cafe-1000/state"));
    }
}
