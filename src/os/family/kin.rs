//! Whether one process belongs to a family: asked of whoever speaks for a service. Reads `/proc` for a few processes,
//! where a scan reads it for all orphans.

use super::Family;
use super::scan::Found;

/// Generations looked up; no service is that deep.
const DEPTH: usize = 64;

impl Family {
    /// Whether this process or one it descends from is the main process, or has its mark, session or group. `None`
    /// when that cannot be told: it or its parents end just now, or have ended.
    #[must_use]
    pub fn claims(&self, pid: u32) -> Option<bool> {
        let by_number = !self.number_was_given_anew();
        let mut next = pid;
        let mut unknown = false;
        for _ in 0..DEPTH {
            let (found, sample) = Found::look_at_any(next)?;
            if (by_number && next == self.main) || found.belongs_to(self, by_number) {
                return Some(true);
            }
            unknown |= found.may_have_a_mark(&sample);
            next = sample.parent;
            if next <= 1 || next == std::process::id() {
                break;
            }
        }
        (!unknown).then_some(false)
    }
}
