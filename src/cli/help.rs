//! `cafe explain`, `completions`, `man`, and what `cafe` alone prints.

use std::fmt::Write as _;

use clap::CommandFactory;
use clap_complete::env::Shells;
use clap_mangen::Man;

use super::Outcome;
use super::arguments::{Arguments, CompletionsArguments, ExplainArguments};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Format, Output};
use crate::types::error::{Code, Problem};
use crate::types::status::SCHEMA;

/// `cafe` alone: the short help, as success.
pub(super) fn short(output: &mut Output) -> Outcome {
    output.refuse_json("")?;
    let help = Arguments::command().render_help();
    let text = if output.paint().coloured { help.ansi().to_string() } else { help.to_string() };
    output.write(&text)?;
    Ok(Exit::Done)
}

/// `cafe explain [CODE]`.
pub(super) fn explain(arguments: &ExplainArguments, output: &mut Output) -> Outcome {
    let Some(text) = &arguments.code else { return list(output) };
    let code: Code = text.parse().map_err(|message: String| {
        let problem = Problem::new(Code::NoSuchName, message);
        Failure::Told(problem.hint("`cafe explain` lists all codes"))
    })?;
    match output.format() {
        Format::Json => output.json(&serde_json::json!({
            "schema": SCHEMA, "code": code, "title": code.title(), "page": code.page(),
        }))?,
        Format::Human | Format::Plain => output.write(code.page())?,
    }
    Ok(Exit::Done)
}

fn list(output: &mut Output) -> Outcome {
    if output.format() == Format::Json {
        let codes = Code::ALL.iter();
        let codes: Vec<_> =
            codes.map(|code| serde_json::json!({ "code": code, "title": code.title() })).collect();
        output.json(&serde_json::json!({ "schema": SCHEMA, "codes": codes }))?;
        return Ok(Exit::Done);
    }
    let gap = if output.format() == Format::Plain { "\t" } else { "  " };
    for code in Code::ALL {
        output.write(&format!("{code}{gap}{}\n", code.title()))?;
    }
    Ok(Exit::Done)
}

/// `cafe completions SHELL`: a script that asks `cafe` itself, so it never falls behind.
pub(super) fn completions(arguments: &CompletionsArguments, output: &mut Output) -> Outcome {
    output.refuse_json("completions")?;
    let shells = Shells::builtins();
    let shell = shells
        .completer(&arguments.shell)
        .ok_or_else(|| Failure::usage(format!("no completions for `{}`", arguments.shell)))?;
    let mut script = Vec::new();
    shell.write_registration("COMPLETE", "cafe", "cafe", "cafe", &mut script)?;
    output.write(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// `cafe man`: one page with every verb.
pub(super) fn man(output: &mut Output) -> Outcome {
    output.refuse_json("man")?;
    output.write(&manual()?)?;
    Ok(Exit::Done)
}

pub(super) fn manual() -> Result<String, Failure> {
    let mut command = Arguments::command();
    command.build();
    let page = Man::new(command.clone()).section("1").manual("cafe");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    text += ".SH VERBS\n";
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        describe(&mut text, verb, "cafe");
    }
    text += ".SH \"EXIT STATUS\"\n";
    for exit in Exit::ALL {
        entry(&mut text, &exit.code().to_string(), exit.meaning());
    }
    text += ".SH FILES\n";
    for (path, meaning) in FILES {
        entry(&mut text, path, meaning);
    }
    text += ".SH ENVIRONMENT\n";
    for (variable, meaning) in ENVIRONMENT {
        entry(&mut text, variable, meaning);
    }
    Ok(text)
}

const FILES: [(&str, &str); 5] = [
    ("./cafe.ron, /etc/cafe/cafe.ron", "the config, unless `cafe run` names another"),
    ("/run/cafe/control.sock", "the control socket of a daemon of root"),
    ("$XDG_RUNTIME_DIR/cafe/control.sock", "the control socket of a daemon of an ordinary user"),
    ("/var/lib/cafe", "state and logs of a daemon of root"),
    ("$XDG_STATE_HOME/cafe, ~/.local/state/cafe", "state and logs of a daemon of an ordinary user"),
];

const ENVIRONMENT: [(&str, &str); 5] = [
    ("CAFE_SOCKET", "the control socket, as --socket"),
    ("NO_COLOR", "no colours, if not empty"),
    ("CLICOLOR_FORCE", "colours although the output is no terminal, if neither empty nor 0"),
    ("TERM", "`dumb`: no colours, no symbols"),
    ("LC_ALL, LC_CTYPE, LANG", "symbols beside ASCII are used where these name UTF-8"),
];

/// A verb with its own flags; those of all verbs stand under OPTIONS.
fn describe(text: &mut String, verb: &clap::Command, parent: &str) {
    let name = format!("{parent} {}", verb.get_name());
    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
    let operands: String = verb.get_positionals().map(|operand| format!(" {operand}")).collect();
    let _ = writeln!(text, ".SS \"{}{}\"\n{}", escape(&name), escape(&operands), escape(&about));
    let own = verb.get_arguments().filter(|argument| !argument.is_global_set());
    for flag in own.filter(|argument| !argument.is_positional() && argument.get_id() != "help") {
        let short = flag.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        let long = flag.get_long().unwrap_or_default();
        let value = match flag.get_value_names() {
            Some([value, ..]) if flag.get_action().takes_values() => format!(" {value}"),
            _ => String::new(),
        };
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        entry(text, &format!("{short}--{long}{value}"), &help);
    }
    // Below `help` stands every verb once more.
    if verb.get_name() == "help" {
        return;
    }
    for verb in verb.get_subcommands().filter(|verb| verb.get_name() != "help") {
        describe(text, verb, &name);
    }
}

fn entry(text: &mut String, term: &str, meaning: &str) {
    let _ = writeln!(text, ".TP\n\\fB{}\\fR\n{}", escape(term), escape(meaning));
}

/// Text as roff: no backslash, dash or leading dot is taken for a request.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    text.lines()
        .map(
            |line| {
                if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
            },
        )
        .collect::<Vec<_>>()
        .join("\n")
}
