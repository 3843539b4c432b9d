//! `cafe config`: check a file, compare it with what runs, show what is in force.

use std::io::Read as _;
use std::path::Path;

use serde_json::json;

use super::Outcome;
use super::arguments::{FileArguments, Global};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Format, Output};
use super::places::{config_file, variable};
use super::style::tame;
use crate::config::{self, Config, Finding, Problems};
use crate::net::control::{Plan, Reloaded};
use crate::types::error::{Code, Problem};
use crate::types::status::SCHEMA;

/// Largest config that is sent to the daemon, bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// `cafe config check [FILE]`: all errors at once; needs no daemon.
pub(super) fn check(arguments: &FileArguments, output: &mut Output) -> Outcome {
    let path = config_file(arguments.file.clone());
    let checked = match path.to_str() {
        Some("-") => config::load_bytes(Path::new("-"), read(&path)?.as_bytes(), &variable),
        _ => config::load(&path, &variable),
    };
    match checked {
        Ok(config) => accepted(&config, &path, output),
        Err(problems) => refused(&problems, output),
    }
}

fn accepted(config: &Config, path: &Path, output: &mut Output) -> Outcome {
    let (services, groups) = (config.services.len(), config.groups.len());
    match output.format() {
        Format::Json => output.json(&json!({
            "schema": SCHEMA, "ok": true, "revision": config.revision, "services": services,
            "groups": groups, "errors": [], "remarks": config::remarks(config),
        }))?,
        Format::Plain => {}
        Format::Human => {
            let path = path.display();
            output
                .write(&format!("{path}: no errors (services: {services}, groups: {groups})\n"))?;
            for remark in config::remarks(config) {
                output.remark(&format!("note: {remark}\n"));
            }
        }
    }
    Ok(Exit::Done)
}

/// The errors are the answer, so they go to stdout in the formats for scripts.
fn refused(problems: &Problems, output: &mut Output) -> Outcome {
    match output.format() {
        Format::Json => output.json(&json!({
            "schema": SCHEMA, "ok": false, "count": problems.count(), "errors": problems.findings(),
        }))?,
        Format::Plain => {
            for Finding { code, file, line, column, message, .. } in problems.findings() {
                let file = file.unwrap_or_default();
                output.write(&format!("{file}\t{line}\t{column}\t{code}\t{}\n", tame(&message)))?;
            }
        }
        Format::Human => {
            let text = problems.render(output.paint_errors().coloured);
            output.complain(&text);
        }
    }
    Ok(Exit::Usage)
}

/// `cafe config diff [FILE]`.
pub(super) async fn diff(
    arguments: &FileArguments,
    global: &Global,
    output: &mut Output,
) -> Outcome {
    let text = arguments.file.as_deref().map(read).transpose()?;
    let plan = global.client().diff(text).await?;
    match output.format() {
        Format::Json => output.json(&plan)?,
        _ => output.write(&show_plan(&plan, output))?,
    }
    Ok(Exit::Done)
}

/// `cafe config show`.
pub(super) async fn show(global: &Global, output: &mut Output) -> Outcome {
    let view = global.client().config().await?;
    match output.format() {
        Format::Json => output.json(&view)?,
        Format::Plain | Format::Human => {
            output.remark(&format!("{}, revision {}\n", view.source, view.revision));
            let text = serde_json::to_string_pretty(&view.config)
                .map_err(|error| Failure::system("cannot show the config", &error))?;
            output.write(&(text + "\n"))?;
        }
    }
    Ok(Exit::Done)
}

/// What a reload changed, or would.
pub(super) fn reloaded(reloaded: &Reloaded, output: &mut Output) -> Outcome {
    if output.format() == Format::Json {
        output.json(reloaded)?;
        return Ok(Exit::Done);
    }
    output.write(&show_plan(&reloaded.plan, output))?;
    let done = if reloaded.applied { "in force" } else { "not applied" };
    output.remark(&format!("revision {}, {done}\n", reloaded.revision));
    Ok(Exit::Done)
}

/// `+ web`, `- old`, `~ db restart: command, env`; plain: action, name, keys.
fn show_plan(plan: &Plan, output: &Output) -> String {
    if output.format() == Format::Plain {
        let record = |step: &crate::net::control::PlanStep| {
            format!("{}\t{}\t{}\n", step.action, step.name, step.keys.join(","))
        };
        return plan.steps.iter().map(record).collect();
    }
    if plan.steps.is_empty() {
        return "nothing changes\n".to_owned();
    }
    let line = |step: &crate::net::control::PlanStep| {
        let sign = match step.action.as_str() {
            "add" => "+",
            "remove" => "-",
            _ => "~",
        };
        let keys = match step.keys.as_slice() {
            [] => String::new(),
            keys => format!(": {}", keys.join(", ")),
        };
        let text = format!("{sign} {} ({}){keys}", step.name, step.action);
        output.paint().change(sign, &text) + "\n"
    };
    plan.steps.iter().map(line).collect()
}

/// A config file, or stdin for `-`; bounded.
fn read(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        let message = format!("cannot read {}: {error}", path.display());
        Failure::Told(Problem::new(Code::ConfigUnreadable, message))
    };
    let source: Box<dyn std::io::Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).map_err(unreadable)?),
    };
    let mut text = String::new();
    source.take(FILE_LIMIT + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_LIMIT {
        let message = format!("{} has more than {FILE_LIMIT} bytes", path.display());
        return Err(Failure::Told(Problem::new(Code::ConfigTooLarge, message)));
    }
    Ok(text)
}
