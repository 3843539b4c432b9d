//! Limits of a cgroup: files written, or the controller named that is missing.

use std::fs;

use super::{Cgroup, Hierarchy};
use crate::os::Error;

/// What a service may use; absent means unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Above this many bytes it is slowed down and its memory reclaimed (`memory.high`).
    pub memory_high: Option<u64>,
    /// Above this many bytes it is killed (`memory.max`).
    pub memory_max: Option<u64>,
    /// Its share when CPU is short, 1 to 10000, 100 unless given (`cpu.weight`).
    pub cpu_weight: Option<u32>,
    /// How much CPU it gets at most, percent of one core (`cpu.max`).
    pub cpu_percent: Option<u32>,
    /// How many threads it may have (`pids.max`).
    pub tasks_max: Option<u64>,
}

/// `cpu.max` counts per this period, microseconds: the kernel's own default.
const CPU_PERIOD: u64 = 100_000;

/// A file of a cgroup.
struct Setting {
    controller: &'static str,
    file: &'static str,
    wanted: Option<String>,
    unlimited: &'static str,
}

impl Limits {
    /// The controllers that they need.
    pub(super) fn controllers(self) -> impl Iterator<Item = &'static str> {
        self.settings()
            .into_iter()
            .filter(|setting| setting.wanted.is_some())
            .map(|setting| setting.controller)
    }

    fn settings(self) -> [Setting; 5] {
        let number = |limit: Option<u64>| limit.map(|limit| limit.to_string());
        let weight = self.cpu_weight.map(|weight| weight.to_string());
        let cpu_max = self
            .cpu_percent
            .map(|percent| format!("{} {CPU_PERIOD}", u64::from(percent) * (CPU_PERIOD / 100)));
        [
            ("memory", "memory.high", number(self.memory_high), "max"),
            ("memory", "memory.max", number(self.memory_max), "max"),
            ("cpu", "cpu.weight", weight, "100"),
            ("cpu", "cpu.max", cpu_max, "max"),
            ("pids", "pids.max", number(self.tasks_max), "max"),
        ]
        .map(|(controller, file, wanted, unlimited)| Setting {
            controller,
            file,
            wanted,
            unlimited,
        })
    }
}

impl Cgroup {
    /// Applies limits; one that is no longer given is lifted. Takes effect at once, also on what runs.
    ///
    /// # Errors
    /// [`Error::ControllerMissing`] names what is not delegated to cafe.
    pub fn limit(&self, hierarchy: &Hierarchy, limits: &Limits) -> Result<(), Error> {
        for Setting { controller, file, wanted, unlimited } in limits.settings() {
            let path = self.path.join(file);
            let value = match wanted {
                Some(value) => {
                    if !hierarchy.enable(controller)? {
                        let cgroup = hierarchy.own().to_owned();
                        return Err(Error::ControllerMissing { file, controller, cgroup });
                    }
                    value
                }
                // Without its controller the file is not there, and nothing is limited.
                None if hierarchy.is_enabled(controller) => unlimited.to_owned(),
                None => continue,
            };
            fs::write(&path, value)
                .map_err(|source| Error::system("write", path.display().to_string(), source))?;
        }
        Ok(())
    }
}
