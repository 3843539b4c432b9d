//! Who may do what: another user is refused, unless the config lets anybody look.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::harness::{Cafe, IDLE, Told, is_installed, program, root, sh, skip, told};

/// Another user than that of the daemon.
const STRANGER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// A daemon whose socket a stranger can get to, as far as its directories go.
async fn reachable(control: &str) -> Option<Cafe> {
    if !root() || !is_installed("setpriv") || !is_installed("curl") {
        skip("another user needs root, setpriv and curl");
        return None;
    }
    let mut cafe = Cafe::new("");
    let services = format!("services: {{ \"web\": (command: {}) }},", sh(IDLE));
    cafe.replace_config(&cafe.config_text(control, &services));
    std::fs::set_permissions(cafe.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    cafe.boot().await;
    Some(cafe)
}

/// What a stranger is answered: status and body.
fn ask(cafe: &Cafe, method: &str, path: &str) -> Told {
    let url = format!("http://cafe{path}");
    let mut command = program(STRANGER[0]);
    command.args(&STRANGER[1..]).args(["curl", "-sS", "--max-time", "30", "-X", method]);
    command.args(["-w", " %{http_code}", "--unix-socket"]).arg(cafe.path("control.sock")).arg(url);
    told(&command.current_dir("/").output().unwrap())
}

#[tokio::test]
async fn a_stranger_does_not_even_get_to_a_private_socket() {
    let Some(cafe) = reachable("").await else { return };
    let told = ask(&cafe, "GET", "/v1/status");
    assert_ne!(told.code, 0, "{told:?}");
    // Were the file itself open to all, the daemon still knows who asks.
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(cafe.path("control.sock"), open).unwrap();
    ask(&cafe, "GET", "/v1/status").expect(0, &["C042", " 403", "65534"]);
    ask(&cafe, "POST", "/v1/services/web/stop").expect(0, &["C042", " 403"]);
}

#[tokio::test]
async fn a_stranger_may_look_where_that_is_public_and_nothing_else() {
    let Some(cafe) = reachable("public: true").await else { return };
    for path in [
        "/v1/status",
        "/v1/daemon",
        "/v1/tree",
        "/v1/metrics",
        "/v1/openapi.json",
        "/v1/services/web",
    ] {
        ask(&cafe, "GET", path).expect(0, &[" 200"]);
    }
    for (method, path) in [
        ("GET", "/v1/events"),
        ("GET", "/v1/logs/web"),
        ("GET", "/v1/config"),
        ("POST", "/v1/services/web/stop"),
        ("POST", "/v1/config/reload"),
        ("POST", "/v1/shutdown"),
    ] {
        let told = ask(&cafe, method, path);
        told.expect(0, &["C042", " 403", "hint"]);
    }
    assert_eq!(cafe.service("web").await.restarts, 0);
}

#[tokio::test]
async fn a_member_of_the_group_may_all_but_config_and_shutdown() {
    let Some(cafe) = reachable("group: \"nogroup\"").await else { return };
    for (method, path) in [
        ("GET", "/v1/status"),
        ("GET", "/v1/logs/web"),
        ("POST", "/v1/services/web/restart?wait_ms=20000"),
    ] {
        ask(&cafe, method, path).expect(0, &[" 200"]);
    }
    for (method, path) in [
        ("GET", "/v1/config"),
        ("PUT", "/v1/config"),
        ("POST", "/v1/config/reload?dry_run=true"),
        ("POST", "/v1/config/diff"),
        ("POST", "/v1/shutdown"),
    ] {
        ask(&cafe, method, path).expect(0, &["C042", " 403", "hint"]);
    }
}

#[tokio::test]
async fn the_command_line_of_a_stranger_is_refused_with_code_6() {
    let Some(cafe) = reachable("public: true").await else { return };
    // The binary stands where another user may not get to it, on some machines.
    let binary = Path::new(env!("CARGO_BIN_EXE_cafe"));
    let may = program(STRANGER[0]).args(&STRANGER[1..]).args(["test", "-x"]).arg(binary).status();
    if !may.is_ok_and(|status| status.success()) {
        return skip("another user may not execute the tested binary");
    }
    let cli = |arguments: &[&str]| {
        told(&cafe.command_by(&STRANGER).current_dir("/").args(arguments).output().unwrap())
    };
    cli(&["status"]).expect(0, &["web"]);
    cli(&["stop", "web"]).expect(6, &["cannot stop \"web\"", "C042", "hint:"]);
    cli(&["shutdown", "--yes"]).expect(6, &["C042"]);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(cafe.path("control.sock"), private).unwrap();
    cli(&["status"]).expect(6, &["C042", "Permission denied"]);
}
