//! The island as its users see it: texts in, configs or rendered errors out.

mod bad;
mod good;

use std::path::Path;

use super::{Config, Problems, load_text};

/// The environment of every test.
fn environment(name: &str) -> Option<String> {
    match name {
        "HOME" => Some("/home/ada".to_owned()),
        "XDG_RUNTIME_DIR" => Some("/run/user/1".to_owned()),
        _ => None,
    }
}

fn try_load(text: &str) -> Result<Config, Problems> {
    load_text(Path::new("/srv/app/cafe.ron"), text, &environment)
}

fn loaded(text: &str) -> Config {
    try_load(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The config of one service `web` with these fields besides its command.
fn with_service(fields: &str) -> String {
    format!("Cafe(services: {{ \"web\": (command: [\"true\"], {fields}) }})")
}

/// The rendered errors of a config that must have some.
fn errors(text: &str) -> String {
    match try_load(text) {
        Ok(config) => panic!("loaded: {config:?}"),
        Err(problems) => problems.render(false),
    }
}

/// The message of the first error, with its code, of a service with these fields.
fn service_error(fields: &str) -> String {
    let problems = try_load(&with_service(fields)).expect_err(fields);
    let first = problems.findings().remove(0);
    let hint = first.hint.map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("{}: {}{hint}", first.code, first.message)
}
