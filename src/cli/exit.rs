//! Exit codes: one table, here, in the man page and in the README.

use std::process::ExitCode;

use crate::types::error::Code;

macro_rules! exits {
    ($($variant:ident = $code:literal, $meaning:literal;)*) => {
        /// How `cafe` ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Exit {
            $(#[doc = $meaning] $variant = $code,)*
        }

        impl Exit {
            /// Every exit, by code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What it means.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

exits! {
    Done = 0, "done; `status`: all is well";
    Failed = 1, "the operation failed";
    Usage = 2, "usage or config error";
    NotRunning = 3, "it is not running";
    NoSuchName = 4, "there is no such service or group";
    Unreachable = 5, "the daemon cannot be reached";
    Refused = 6, "refused: not permitted";
    TimedOut = 7, "timed out waiting";
    Interrupted = 130, "interrupted by Ctrl-C";
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The one of two that says more: of several names, the worst decides.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other.severity() > self.severity() { other } else { self }
    }

    /// A timeout or a failure weighs more than "not running", a missing daemon more than all.
    fn severity(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotRunning => 1,
            Self::NoSuchName => 2,
            Self::TimedOut => 3,
            Self::Failed => 4,
            Self::Refused => 5,
            Self::Usage => 6,
            Self::Unreachable => 7,
            Self::Interrupted => 8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<Code> for Exit {
    fn from(code: Code) -> Self {
        match code {
            Code::DaemonUnreachable => Self::Unreachable,
            Code::Refused => Self::Refused,
            Code::NoSuchName => Self::NoSuchName,
            Code::TimedOut | Code::NotReadyInTime => Self::TimedOut,
            Code::BadRequest
            | Code::ConfigUnreadable
            | Code::ConfigSyntax
            | Code::UnknownField
            | Code::InvalidValue
            | Code::MissingField
            | Code::DependencyCycle
            | Code::UnknownReference
            | Code::DuplicateName
            | Code::UndefinedVariable
            | Code::ConfigTooLarge
            | Code::PrivilegeDropped => Self::Usage,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;
    use crate::types::error::Code;

    #[test]
    fn codes_are_those_of_the_manual() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 130]);
    }

    #[test]
    fn the_worst_of_several_decides() {
        assert_eq!(Exit::Done.worse(Exit::NotRunning), Exit::NotRunning);
        assert_eq!(Exit::NoSuchName.worse(Exit::NotRunning), Exit::NoSuchName);
        for exit in Exit::ALL {
            assert_eq!(Exit::Done.worse(*exit), *exit);
            assert_eq!(exit.worse(Exit::Done), *exit);
        }
    }

    #[test]
    fn no_error_is_success() {
        for code in Code::ALL {
            assert_ne!(Exit::from(*code), Exit::Done, "{code}");
        }
        assert_eq!(Exit::from(Code::DaemonUnreachable), Exit::Unreachable);
        assert_eq!(Exit::from(Code::NoSuchName), Exit::NoSuchName);
        assert_eq!(Exit::from(Code::ConfigSyntax), Exit::Usage);
        assert_eq!(Exit::from(Code::Refused), Exit::Refused);
    }
}
