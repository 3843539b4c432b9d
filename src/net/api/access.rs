//! Who may do what: the peer's user and groups, as the kernel told them, against the config.

use std::collections::BTreeSet;

use crate::net::control::Peer;

/// What an endpoint needs, and what a peer may; each includes the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Nothing.
    Nothing,
    /// The status, without what services wrote.
    Look,
    /// Everything but the config and the end of the daemon.
    Operate,
    /// All.
    Own,
}

/// Who may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// User the daemon runs as; it and root may do all.
    pub owner: u32,
    /// Members of this group may operate (`control.group`).
    pub group: Option<u32>,
    /// Anybody may look (`control.public`).
    pub public: bool,
}

impl Access {
    /// What `peer` may; `groups` is asked for only when it matters.
    pub fn right(&self, peer: Peer, groups: impl FnOnce() -> BTreeSet<u32>) -> Right {
        if self.is_owner(peer.uid) {
            return Right::Own;
        }
        if let Some(group) = self.group
            && (peer.gid == group || groups().contains(&group))
        {
            return Right::Operate;
        }
        if self.public { Right::Look } else { Right::Nothing }
    }

    /// Root, or the user the daemon runs as.
    #[must_use]
    pub fn is_owner(&self, uid: u32) -> bool {
        uid == 0 || uid == self.owner
    }
}

/// Supplementary groups of a peer, from `proc_pid_status(5)`; empty when it cannot be told.
///
/// The pid may have been taken over since it connected, so the process must still have the peer's user:
/// then the groups are at worst those of another process of the same user.
#[must_use]
pub fn groups_of(peer: Peer) -> BTreeSet<u32> {
    let Some(pid) = peer.pid else { return BTreeSet::new() };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    groups_in(&status, peer.uid)
}

fn groups_in(status: &str, uid: u32) -> BTreeSet<u32> {
    let numbers = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.split_whitespace().map_while(|word| word.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    // Real, effective, saved, file system: the effective one is what SO_PEERCRED tells.
    if numbers("Uid:").get(1) != Some(&uid) {
        return BTreeSet::new();
    }
    numbers("Groups:").into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Access, Right, groups_in, groups_of};
    use crate::net::control::Peer;

    const ACCESS: Access = Access { owner: 500, group: Some(70), public: false };

    fn peer(uid: u32, gid: u32) -> Peer {
        Peer { uid, gid, pid: None }
    }

    #[test]
    fn root_and_the_daemons_user_own_members_operate_others_need_public() {
        let member = || BTreeSet::from([70]);
        let stranger = BTreeSet::new;
        assert_eq!(ACCESS.right(peer(0, 0), stranger), Right::Own);
        assert_eq!(ACCESS.right(peer(500, 9), stranger), Right::Own);
        assert_eq!(ACCESS.right(peer(1000, 70), stranger), Right::Operate);
        assert_eq!(ACCESS.right(peer(1000, 1000), member), Right::Operate);
        assert_eq!(ACCESS.right(peer(1000, 1000), stranger), Right::Nothing);
        let public = Access { public: true, ..ACCESS };
        assert_eq!(public.right(peer(1000, 1000), stranger), Right::Look);
        let no_group = Access { group: None, ..ACCESS };
        assert_eq!(no_group.right(peer(1000, 70), member), Right::Nothing);
    }

    #[test]
    fn groups_count_only_while_the_process_has_the_peers_user() {
        let status = "Name:\tsh\nUid:\t1000\t1000\t1000\t1000\nGroups:\t4 70 \n";
        assert_eq!(groups_in(status, 1000), BTreeSet::from([4, 70]));
        assert_eq!(groups_in(status, 1001), BTreeSet::new());
        assert_eq!(groups_in("", 0), BTreeSet::new());
    }

    #[test]
    fn groups_of_this_process_are_those_the_kernel_lists() {
        let uid = nix::unistd::geteuid().as_raw();
        let gid = nix::unistd::getegid().as_raw();
        let mine = groups_of(Peer { uid, gid, pid: Some(std::process::id()) });
        let kernel = nix::unistd::getgroups().expect("groups");
        assert_eq!(mine, kernel.into_iter().map(nix::unistd::Gid::as_raw).collect());
    }
}
