//! Codes of the errors a user meets (`cafe explain C021`), and the one printer of error chains.

use std::error::Error;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! codes {
    ($($variant:ident = $code:literal, $title:literal;)*) => {
        /// A code a user can look up; its page is `docs/errors/CODE.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// `"C021"`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What the code stands for, in a few words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// The page that explains it: what happened, why, what to do.
            #[must_use]
            pub fn page(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("../../docs/errors/", $code, ".md")),)*
                }
            }
        }
    };
}

codes! {
    ConfigUnreadable = "C001", "the config file cannot be read";
    ConfigSyntax = "C002", "the config file is not valid RON";
    UnknownField = "C003", "unknown field or variant in the config";
    InvalidValue = "C004", "a config value is not valid";
    MissingField = "C005", "a required config field is missing";
    DependencyCycle = "C006", "services wait for each other in a circle";
    UnknownReference = "C007", "the config names something that does not exist";
    DuplicateName = "C008", "a name is used twice";
    UndefinedVariable = "C009", "a variable is not defined";
    ConfigTooLarge = "C010", "the config file is too large";
    PrivilegeDropped = "C011", "the config needs a privilege that cafe gave up";
    ProgramNotFound = "C020", "the program does not exist";
    ProgramNotExecutable = "C021", "the program may not be executed";
    WorkingDirectory = "C022", "the working directory cannot be entered";
    UnknownUser = "C023", "the user or group does not exist";
    NotPermitted = "C024", "the system does not permit it";
    OutOfResources = "C025", "the machine or a limit is out of descriptors, processes or memory";
    StartFailed = "C026", "the process could not be started";
    NotReadyInTime = "C030", "the service was not ready in time";
    HealthFailed = "C031", "the health check failed";
    GaveUp = "C032", "the service restarted too often";
    DaemonUnreachable = "C040", "the daemon cannot be reached";
    AlreadyRunning = "C041", "another cafe uses this state directory";
    Refused = "C042", "you may not do this";
    NoSuchName = "C043", "there is no such service or group";
    TimedOut = "C044", "it took too long";
    BadRequest = "C045", "the request is not valid";
    Conflict = "C046", "the state changed meanwhile";
    SocketUnusable = "C047", "the control socket cannot be used";
    LogUnwritable = "C050", "logs cannot be written";
    StateDirectory = "C051", "the state directory cannot be used";
    OperationFailed = "C052", "the operation failed";
    AddressInUse = "C060", "the address is in use";
    AddressUnusable = "C061", "the address cannot be listened on";
    UpgradeRefused = "C070", "cafe cannot become this program";
}

impl std::fmt::Display for Code {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.trim().to_ascii_uppercase();
        let found = Self::ALL.iter().find(|code| code.as_str() == wanted);
        found.copied().ok_or_else(|| format!("there is no error code `{text}`"))
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An error as it crosses the control socket and reaches the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Its code.
    #[schema(value_type = String, example = "C043")]
    pub code: Code,
    /// Operation, subject and cause in one sentence.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint of its own; `cafe explain` has the page.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// `operation: cause: deeper cause`, each source once. Error types here never print their own source.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Code, Problem};

    #[test]
    fn every_code_is_unique_and_has_a_page_under_its_own_name() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert!(code.page().starts_with(&format!("# {code}: {}", code.title())), "{code}");
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
    }

    #[test]
    fn a_problem_survives_the_socket() {
        let problem =
            Problem::new(Code::NoSuchName, "no service `wbe`").hint("did you mean `web`?");
        let json = serde_json::to_string(&problem).expect("serialises");
        assert_eq!(
            json,
            r#"{"code":"C043","message":"no service `wbe`","hint":"did you mean `web`?"}"#
        );
        assert_eq!(serde_json::from_str::<Problem>(&json).expect("parses"), problem);
    }
}
