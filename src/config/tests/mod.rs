//! The island as its users see it: texts in, configs or rendered errors out.

mod bad;
mod differences;
mod files;
mod good;
mod listen;
mod properties;
mod values;

use std::path::Path;

use super::{Config, Problems, Service, load_bytes};

/// The environment of every test.
fn environment(name: &str) -> Option<String> {
    match name {
        "HOME" => Some("/home/ada".to_owned()),
        "XDG_RUNTIME_DIR" => Some("/run/user/1".to_owned()),
        _ => None,
    }
}

fn try_load(text: &str) -> Result<Config, Problems> {
    load_bytes(Path::new("/srv/app/cafe.ron"), text.as_bytes(), &environment)
}

fn loaded(text: &str) -> Config {
    try_load(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The config of one service `web` with these fields besides its command.
fn with_service(fields: &str) -> String {
    format!("Cafe(services: {{ \"web\": (command: [\"true\"], {fields}) }})")
}

/// The service `web` with these fields besides its command.
fn service(fields: &str) -> Service {
    loaded(&with_service(fields)).services["web"].as_ref().clone()
}

/// The errors of `text`, one per line: `C004 3:9 message (hint)`.
fn errors(text: &str) -> Vec<String> {
    let problems = match try_load(text) {
        Ok(config) => panic!("{text} is accepted: {config:?}"),
        Err(problems) => problems,
    };
    let line = |finding: super::Finding| {
        let hint = finding.hint.map_or_else(String::new, |hint| format!(" ({hint})"));
        let (line, column) = (finding.line, finding.column);
        format!("{} {line}:{column} {}{hint}", finding.code, finding.message)
    };
    problems.findings().into_iter().map(line).collect()
}

/// The only error of a service with these fields: its code, message and hint.
fn service_error(fields: &str) -> String {
    let list = errors(&with_service(fields));
    let [only] = &list[..] else { panic!("{fields}: {list:#?}") };
    let mut parts = only.splitn(3, ' ');
    format!("{} {}", parts.next().unwrap(), parts.nth(1).unwrap())
}
