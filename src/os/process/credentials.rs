//! From a user's name to the numbers the kernel wants. Reads the account database: blocks.

use std::ffi::{CString, OsString};
use std::io;
use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::os::Error;

/// Whom a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// All groups, the group id among them.
    pub groups: Vec<u32>,
    /// Login name; absent for a number without an account.
    pub name: Option<OsString>,
    /// Home directory; absent for a number without an account.
    pub home: Option<PathBuf>,
}

/// Looks up a user and a group, each by name or number, with the groups of initgroups(3).
/// Without a user it is cafe's own. Blocks on the account database.
///
/// # Errors
/// When there is no such user or group, a number without an account comes without a group, or the database
/// cannot be read.
pub fn lookup(user: Option<&str>, group: Option<&str>) -> Result<Account, Error> {
    let group = group.map(find_group).transpose()?;
    let Some((uid, found)) = user.map_or_else(own_user, find_user)? else {
        return Err(Error::UnknownUser(user.unwrap_or_default().to_owned()));
    };
    let Some(found) = found else {
        let gid = group.ok_or_else(|| Error::GroupNeeded(uid.to_string()))?;
        let groups = vec![gid.as_raw()];
        return Ok(Account {
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            groups,
            name: None,
            home: None,
        });
    };
    let gid = group.unwrap_or(found.gid);
    let failed = |source: io::Error| Error::AccountLookup { name: found.name.clone(), source };
    let name = CString::new(found.name.as_str()).map_err(|error| failed(error.into()))?;
    let groups = getgrouplist(&name, gid).map_err(|errno| failed(errno.into()))?;
    Ok(Account {
        uid: uid.as_raw(),
        gid: gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
        name: Some(found.name.into()),
        home: Some(found.dir),
    })
}

/// The id, and its account if it has one; `None`: neither.
type Found = Option<(Uid, Option<User>)>;

/// A name wins over a number, as in chown(1).
fn find_user(text: &str) -> Result<Found, Error> {
    let failed =
        |errno: nix::Error| Error::AccountLookup { name: text.to_owned(), source: errno.into() };
    if let Some(user) = User::from_name(text).map_err(failed)? {
        return Ok(Some((user.uid, Some(user))));
    }
    let Some(uid) = number(text).map(Uid::from_raw) else { return Ok(None) };
    Ok(Some((uid, User::from_uid(uid).map_err(failed)?)))
}

fn own_user() -> Result<Found, Error> {
    let uid = nix::unistd::geteuid();
    let failed =
        |errno: nix::Error| Error::AccountLookup { name: uid.to_string(), source: errno.into() };
    Ok(Some((uid, User::from_uid(uid).map_err(failed)?)))
}

fn find_group(text: &str) -> Result<Gid, Error> {
    let failed =
        |errno: nix::Error| Error::AccountLookup { name: text.to_owned(), source: errno.into() };
    if let Some(group) = Group::from_name(text).map_err(failed)? {
        return Ok(group.gid);
    }
    number(text).map(Gid::from_raw).ok_or_else(|| Error::UnknownGroup(text.to_owned()))
}

/// The largest number means "unchanged" to the kernel and is nobody's.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&number| number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_by_number_and_with_another_group() {
        let root = lookup(Some("root"), None).expect("every machine has root");
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0) && root.home.is_some());
        assert_eq!(lookup(Some("0"), None).expect("by number"), root);
        let other = lookup(Some("root"), Some("4242")).expect("a number needs no entry");
        assert_eq!((other.gid, other.groups.contains(&4242)), (4242, true));
        let nobody = lookup(Some("4000000000"), Some("4242")).expect("numbers need no account");
        assert_eq!((nobody.uid, nobody.groups), (4_000_000_000, vec![4242]));
    }

    #[test]
    fn who_does_not_exist_is_named() {
        let error = |user, group| lookup(user, group).expect_err("refused").to_string();
        assert_eq!(error(Some("no-such-user"), None), "there is no user `no-such-user`");
        assert_eq!(error(None, Some("no-such-group")), "there is no group `no-such-group`");
        assert!(error(Some("4000000000"), None).contains("so `group` must be given"));
        assert_eq!(error(Some("4294967295"), None), "there is no user `4294967295`");
    }
}
