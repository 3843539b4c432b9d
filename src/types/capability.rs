//! The capabilities of Linux by name, and sets of them (capabilities(7)). Only words: nothing is asked or changed.

use std::fmt;
use std::ops::{BitAnd, BitOr, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names by number, without `CAP_`, as in `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// One capability: a part of what root may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

impl Capability {
    /// Files of others: read, write, execute, enter.
    pub const DAC_OVERRIDE: Self = Self(1);
    /// Files of others: read, enter.
    pub const DAC_READ_SEARCH: Self = Self(2);
    /// Give files away.
    pub const CHOWN: Self = Self(0);
    /// Signal processes of others.
    pub const KILL: Self = Self(5);
    /// Take any groups.
    pub const SETGID: Self = Self(6);
    /// Become any user.
    pub const SETUID: Self = Self(7);
    /// Take capabilities out of the bounding set.
    pub const SETPCAP: Self = Self(8);
    /// Bind ports below 1024.
    pub const NET_BIND_SERVICE: Self = Self(10);
    /// Look into processes of others.
    pub const SYS_PTRACE: Self = Self(19);
    /// Raise the priority.
    pub const SYS_NICE: Self = Self(23);
    /// Raise hard limits, and go beyond those of a user.
    pub const SYS_RESOURCE: Self = Self(24);

    /// All that have a name, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).take(NAMES.len()).map(Self)
    }

    /// Every name, without `CAP_`.
    #[must_use]
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// The number the kernel has for it, below 64.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => formatter.pad(name),
            // Of a later kernel.
            None => write!(formatter, "{}", self.0),
        }
    }
}

impl FromStr for Capability {
    type Err = String;

    /// `NET_RAW` or `CAP_NET_RAW`.
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("CAP_").unwrap_or(text);
        let found = Self::all().find(|capability| NAMES[usize::from(capability.0)] == name);
        found.ok_or_else(|| format!("there is no capability `{text}`"))
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Capabilities(u64);

impl Capabilities {
    /// None.
    pub const NONE: Self = Self(0);

    /// As the kernel's bits, the lowest for number 0.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The kernel's bits.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many it has.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether it has this one.
    #[must_use]
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & bit(capability) != 0
    }

    /// Adds one.
    pub fn insert(&mut self, capability: Capability) {
        self.0 |= bit(capability);
    }

    /// Those it has, by number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0..64).map(Capability).filter(move |capability| self.contains(*capability))
    }
}

fn bit(capability: Capability) -> u64 {
    1 << capability.0
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(list: I) -> Self {
        Self(list.into_iter().fold(0, |bits, capability| bits | bit(capability)))
    }
}

impl BitAnd for Capabilities {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Sub for Capabilities {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// `KILL SETUID`, or `none`.
impl fmt::Display for Capabilities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return formatter.write_str("none");
        }
        let names: Vec<String> = self.iter().map(|capability| capability.to_string()).collect();
        formatter.write_str(&names.join(" "))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Capabilities({self})")
    }
}

/// A list of names.
impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|capability| capability.to_string()))
    }
}

impl<'de> Deserialize<'de> for Capabilities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let of = |name: String| match name.parse::<u8>() {
            Ok(number) if number < 64 => Ok(Capability(number)),
            _ => name.parse::<Capability>().map_err(serde::de::Error::custom),
        };
        Vec::<String>::deserialize(deserializer)?.into_iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Capabilities, Capability};

    #[test]
    fn names_and_numbers_are_those_of_the_kernel() {
        for (capability, name, number) in [
            (Capability::CHOWN, "CHOWN", 0),
            (Capability::DAC_OVERRIDE, "DAC_OVERRIDE", 1),
            (Capability::DAC_READ_SEARCH, "DAC_READ_SEARCH", 2),
            (Capability::KILL, "KILL", 5),
            (Capability::SETGID, "SETGID", 6),
            (Capability::SETUID, "SETUID", 7),
            (Capability::SETPCAP, "SETPCAP", 8),
            (Capability::NET_BIND_SERVICE, "NET_BIND_SERVICE", 10),
            (Capability::SYS_PTRACE, "SYS_PTRACE", 19),
            (Capability::SYS_NICE, "SYS_NICE", 23),
            (Capability::SYS_RESOURCE, "SYS_RESOURCE", 24),
        ] {
            assert_eq!((capability.to_string().as_str(), capability.number()), (name, number));
            assert_eq!(name.parse(), Ok(capability));
            assert_eq!(format!("CAP_{name}").parse(), Ok(capability));
        }
        assert_eq!("CHECKPOINT_RESTORE".parse::<Capability>().map(Capability::number), Ok(40));
        assert!("NET_BIND".parse::<Capability>().is_err());
    }

    #[test]
    fn a_set_survives_the_socket_with_what_a_later_kernel_has() {
        let set = Capabilities::from_bits(1 << 5 | 1 << 40 | 1 << 63);
        let json = serde_json::to_string(&set).expect("serialises");
        assert_eq!(json, r#"["KILL","CHECKPOINT_RESTORE","63"]"#);
        assert_eq!(serde_json::from_str::<Capabilities>(&json).expect("parses"), set);
        assert!(serde_json::from_str::<Capabilities>(r#"["64"]"#).is_err());
        assert_eq!(Capabilities::NONE.to_string(), "none");
    }
}
