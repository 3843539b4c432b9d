//! Colours and symbols: meaning, never decoration, and never without a word beside them.

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

use crate::types::state::State;

/// `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless the environment says no.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Looks up an environment variable; a function, so that tests need not change their process.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Whether to colour a stream: the flag, then `NO_COLOR` (<https://no-color.org>: set and not empty),
/// then `CLICOLOR_FORCE`, then whether it is a terminal that can.
pub(super) fn is_coloured(choice: ColorChoice, variable: Environment, terminal: bool) -> bool {
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if is_set("NO_COLOR") => false,
        ColorChoice::Auto if is_set("CLICOLOR_FORCE") => {
            variable("CLICOLOR_FORCE").as_deref() != Some("0")
        }
        ColorChoice::Auto => terminal && variable("TERM").as_deref() != Some("dumb"),
    }
}

/// Whether the locale can show more than ASCII.
pub(super) fn is_unicode(variable: Environment) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()))
        .unwrap_or_default()
        .to_ascii_lowercase();
    let capable = variable("TERM").as_deref() != Some("dumb");
    capable && (locale.ends_with("utf-8") || locale.ends_with("utf8"))
}

/// Puts colours around words, or does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    pub(super) coloured: bool,
    pub(super) unicode: bool,
}

impl Paint {
    /// Red and bold: failed, removed.
    pub(super) fn bad(self, text: &str) -> String {
        self.put(AnsiColor::Red.on_default().bold(), text)
    }

    /// Dim: stopped, secondary.
    pub(super) fn dim(self, text: &str) -> String {
        self.put(Style::new().dimmed(), text)
    }

    /// Bold: identifiers, headings.
    pub(super) fn bold(self, text: &str) -> String {
        self.put(Style::new().bold(), text)
    }

    /// `text` in the colour of `state`.
    pub(super) fn state(self, state: State, text: &str) -> String {
        self.put(style_of(state), text)
    }

    /// `text` in the colour of a change: `+` green, `-` red, `~` yellow.
    pub(super) fn change(self, sign: &str, text: &str) -> String {
        let colour = match sign {
            "+" => AnsiColor::Green,
            "-" => AnsiColor::Red,
            _ => AnsiColor::Yellow,
        };
        self.put(colour.on_default(), text)
    }

    /// `text` in the colour of a service's name: the same on every run, so that eyes learn it.
    pub(super) fn of_name(self, name: &str, text: &str) -> String {
        const COLOURS: [AnsiColor; 6] = [
            AnsiColor::Cyan,
            AnsiColor::Magenta,
            AnsiColor::Blue,
            AnsiColor::BrightCyan,
            AnsiColor::BrightMagenta,
            AnsiColor::BrightBlue,
        ];
        // FNV-1a: the hasher of std may change between versions.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let colour = COLOURS[usize::try_from(hash % 6).unwrap_or(0)];
        self.put(colour.on_default(), text)
    }

    /// The symbol of a state; its word always stands beside it.
    pub(super) fn glyph(self, state: State) -> &'static str {
        let (unicode, ascii) = match state {
            State::Running | State::Ready => ("●", "[ok]"),
            State::Done => ("✓", "[ok]"),
            State::Stopped => ("○", "[--]"),
            State::Failed | State::Unhealthy => ("✗", "[!!]"),
            State::Waiting | State::Starting | State::Stopping | State::Backoff => ("↻", "[..]"),
        };
        if self.unicode { unicode } else { ascii }
    }

    fn put(self, style: Style, text: &str) -> String {
        if self.coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

fn style_of(state: State) -> Style {
    match state {
        State::Running | State::Ready | State::Done => AnsiColor::Green.on_default(),
        State::Failed | State::Unhealthy => AnsiColor::Red.on_default().bold(),
        State::Waiting | State::Starting | State::Stopping | State::Backoff => {
            AnsiColor::Yellow.on_default()
        }
        State::Stopped => Style::new().dimmed(),
    }
}

/// Text from a service or another user, safe on a terminal: control characters are shown, not obeyed.
pub(super) fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => tamed.push(' '),
            // Besides C0 and C1: what turns the reading direction around (Unicode TR 9).
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                tamed.extend(character.escape_unicode());
            }
            _ if character.is_control() => tamed.extend(character.escape_default()),
            _ => tamed.push(character),
        }
    }
    tamed
}

#[cfg(test)]
mod tests {
    use super::{ColorChoice, is_coloured, is_unicode, tame};

    type Pairs = &'static [(&'static str, &'static str)];

    fn environment<'e>(pairs: &'e [(&'e str, &'e str)]) -> impl Fn(&str) -> Option<String> + 'e {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn colour_follows_flag_then_environment_then_terminal() {
        use ColorChoice::{Always, Auto, Never};
        #[rustfmt::skip]
        let table: &[(ColorChoice, Pairs, bool, bool)] = &[
            (Auto,   &[],                                              true,  true),
            (Auto,   &[],                                              false, false),
            (Auto,   &[("NO_COLOR", "1")],                             true,  false),
            (Auto,   &[("NO_COLOR", "")],                              true,  true),
            (Auto,   &[("TERM", "dumb")],                              true,  false),
            (Auto,   &[("CLICOLOR_FORCE", "1")],                       false, true),
            (Auto,   &[("CLICOLOR_FORCE", "0")],                       false, false),
            (Auto,   &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],    false, false),
            (Always, &[("NO_COLOR", "1")],                             false, true),
            (Never,  &[("CLICOLOR_FORCE", "1")],                       true,  false),
        ];
        for (choice, pairs, terminal, expected) in table {
            let coloured = is_coloured(*choice, &environment(pairs), *terminal);
            assert_eq!(coloured, *expected, "{choice:?} {pairs:?} terminal {terminal}");
        }
    }

    #[test]
    fn symbols_need_a_locale_that_has_them() {
        #[rustfmt::skip]
        let table: &[(Pairs, bool)] = &[
            (&[("LANG", "en_GB.UTF-8")],                        true),
            (&[("LANG", "C.utf8")],                             true),
            (&[("LANG", "C")],                                  false),
            (&[],                                               false),
            (&[("LANG", "C"), ("LC_ALL", "C.UTF-8")],           true),
            (&[("LANG", "en_GB.UTF-8"), ("LC_ALL", "C")],       false),
            (&[("LANG", "en_GB.UTF-8"), ("TERM", "dumb")],      false),
        ];
        for (pairs, expected) in table {
            assert_eq!(is_unicode(&environment(pairs)), *expected, "{pairs:?}");
        }
    }

    #[test]
    fn what_services_say_cannot_drive_the_terminal() {
        assert_eq!(tame("a\x1b[2Jb\x07\u{9b}c"), "a\\u{1b}[2Jb\\u{7}\\u{9b}c");
        assert_eq!(tame("tab\tend\r\n"), "tab end\\r\\n");
        assert_eq!(tame("\u{202e}txt.exe"), "\\u{202e}txt.exe");
        assert_eq!(tame("grüße ✓"), "grüße ✓");
    }
}
