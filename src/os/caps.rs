//! The capabilities of cafe's own process (capabilities(7)): what it has, and giving up what it does not need.
//!
//! Linux keeps them for each thread, and a new thread has those of the one that made it. So cafe gives them up while it
//! has a single thread: all later ones have no more. What a service has is set between clone and exec, by
//! `process`.

use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_ambient_set,
    capability_is_in_bounding_set, remove_capability_from_bounding_set, set_capabilities,
};

use super::Error;
use crate::types::capability::{Capabilities, Capability};

/// The sets of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sets {
    /// What it may make effective.
    pub permitted: Capabilities,
    /// What the kernel looks at.
    pub effective: Capabilities,
    /// What it may hand on over an exec, where the file allows it.
    pub inheritable: Capabilities,
    /// The most that an exec can give.
    pub bounding: Capabilities,
    /// What it hands on over an exec of an ordinary file by another user than root.
    pub ambient: Capabilities,
}

/// The sets of this thread.
///
/// # Errors
/// When the kernel has no capabilities.
pub fn read() -> Result<Sets, Error> {
    let failed = |errno: Errno| Error::system("read", "the capabilities", errno);
    let sets = capabilities(None).map_err(failed)?;
    let of = |set: CapabilitySet| Capabilities::from_bits(set.bits());
    Ok(Sets {
        permitted: of(sets.permitted),
        effective: of(sets.effective),
        inheritable: of(sets.inheritable),
        bounding: known(capability_is_in_bounding_set).map_err(failed)?,
        ambient: known(capability_is_in_ambient_set).map_err(failed)?,
    })
}

/// Gives up, in this thread and those it makes from now on, whatever is not in `held`, and in the bounding set whatever
/// is not in `bounding`. What was not there is not added. Ambient and inheritable ones that are held stay, so that an
/// exec of cafe by itself keeps them.
///
/// # Errors
/// When the kernel refuses, which for `bounding` is without `CAP_SETPCAP`.
pub fn keep(held: Capabilities, bounding: Capabilities) -> Result<(), Error> {
    let now = read()?;
    for capability in (now.bounding - bounding).iter() {
        remove_capability_from_bounding_set(one(capability)).map_err(|errno| {
            Error::system("take out of the bounding set", format!("CAP_{capability}"), errno)
        })?;
    }
    let set = |set: Capabilities| CapabilitySet::from_bits_retain((set & held).bits());
    let kept = CapabilitySets {
        // All that is left is needed.
        effective: set(now.permitted),
        permitted: set(now.permitted),
        inheritable: set(now.inheritable),
    };
    // The kernel takes out of the ambient set what is no longer permitted and inheritable.
    set_capabilities(None, kept).map_err(|errno| Error::system("give up", "capabilities", errno))
}

/// Those that the kernel knows and `holds` says yes to.
fn known(
    holds: impl Fn(CapabilitySet) -> rustix::io::Result<bool>,
) -> rustix::io::Result<Capabilities> {
    let mut bits = 0;
    for number in 0..64 {
        match holds(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(true) => bits |= 1 << number,
            Ok(false) => {}
            // The first that the kernel does not know.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(Capabilities::from_bits(bits))
}

fn one(capability: Capability) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << capability.number())
}

/// The first port that everybody may bind; 1024 where the kernel does not say (ip(7)).
#[must_use]
pub fn first_unprivileged_port() -> u16 {
    let read: io::Result<String> =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    read.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use super::{keep, read};
    use crate::types::capability::{Capabilities, Capability};

    /// In a thread of its own: capabilities never come back.
    fn in_a_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(body).join().expect("no panic")
    }

    #[test]
    fn what_is_read_is_what_proc_says() {
        let (sets, status) = in_a_thread(|| {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("reads");
            (read().expect("reads"), status)
        });
        for (name, set) in [
            ("CapPrm", sets.permitted),
            ("CapEff", sets.effective),
            ("CapInh", sets.inheritable),
            ("CapBnd", sets.bounding),
            ("CapAmb", sets.ambient),
        ] {
            let line = status.lines().find(|line| line.starts_with(name)).expect("there");
            let bits = line.split_whitespace().nth(1).expect("a number");
            assert_eq!(u64::from_str_radix(bits, 16), Ok(set.bits()), "{name}");
        }
    }

    #[test]
    fn what_is_given_up_is_gone_for_the_threads_made_after_too() {
        let before = read().expect("reads");
        let held = [Capability::KILL, Capability::SETUID].into_iter().collect::<Capabilities>();
        let bounded = before.permitted.contains(Capability::SETPCAP);
        let bounding = if bounded { held } else { before.bounding };
        let (own, made) = in_a_thread(move || {
            keep(held, bounding).expect("gives up");
            (read().expect("reads"), in_a_thread(|| read().expect("reads")))
        });
        assert_eq!(own, made);
        assert_eq!((own.permitted, own.effective), (before.permitted & held, own.permitted));
        assert_eq!(own.bounding, before.bounding & bounding);
        assert!((own.inheritable - held).is_empty() && (own.ambient - held).is_empty());
        assert_eq!(read().expect("reads"), before, "other threads keep theirs");
    }
}
