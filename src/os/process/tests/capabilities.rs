//! What a started program may do: exactly what was asked for, whoever it runs as.

use super::*;
use crate::os::caps;
use crate::types::capability::{Capabilities, Capability};

const NONE: u64 = 0;

/// `CapInh`, `CapPrm`, `CapEff`, `CapBnd`, `CapAmb` and `NoNewPrivs` of a program that was started.
async fn powers(spawner: Spawner, mut command: Command) -> Result<([u64; 5], bool), Error> {
    let (reader, writer) = std::io::pipe().expect("pipe");
    command.descriptors.push((1, Arc::new(OwnedFd::from(writer))));
    let child = spawner.spawn(command).await?;
    child.wait().await.expect("ends");
    let mut text = String::new();
    File::from(OwnedFd::from(reader)).read_to_string(&mut text).expect("reads");
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).expect("is listed");
        let value = line.split_whitespace().nth(1).expect("has a value");
        u64::from_str_radix(value, 16).expect("a number")
    };
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(field);
    Ok((sets, field("NoNewPrivs") == 1))
}

fn show() -> Command {
    command(&["cat", "/proc/self/status"])
}

fn asking(list: &[Capability]) -> Command {
    Command { capabilities: Some(list.iter().copied().collect()), ..show() }
}

fn as_stranger(command: Command) -> Command {
    Command { user: Some("65534".to_owned()), group: Some("65534".to_owned()), ..command }
}

/// A spawner whose threads hold only this, as after `caps::keep`.
fn spawner_with(held: Capabilities) -> Spawner {
    let made = std::thread::spawn(move || {
        let bounding = caps::read().expect("reads").bounding;
        caps::keep(held, bounding).expect("gives up");
        spawner()
    });
    made.join().expect("no panic")
}

#[tokio::test]
async fn root_has_all_unless_it_asks_for_few() {
    if !is_root() {
        return;
    }
    let all = caps::read().expect("reads").bounding.bits();
    let (sets, bound) = powers(spawner(), show()).await.expect("starts");
    assert_eq!((sets, bound), ([NONE, all, all, all, NONE], false));
    // Also when the thread that starts it holds less: the exec gives it back.
    let (sets, _) = powers(spawner_with(Capabilities::NONE), show()).await.expect("starts");
    assert_eq!(sets, [NONE, all, all, all, NONE]);
    let few = 1 << Capability::KILL.number() | 1 << Capability::SETUID.number();
    let asked = asking(&[Capability::KILL, Capability::SETUID]);
    let (sets, _) = powers(spawner(), asked).await.expect("starts");
    assert_eq!(sets, [few; 5]);
    let (sets, _) = powers(spawner(), asking(&[])).await.expect("starts");
    assert_eq!(sets, [NONE; 5]);
}

#[tokio::test]
async fn another_user_has_what_it_asks_for_and_no_more() {
    if !is_root() {
        return;
    }
    let all = caps::read().expect("reads").bounding.bits();
    let (sets, _) = powers(spawner(), as_stranger(show())).await.expect("starts");
    assert_eq!(sets, [NONE, NONE, NONE, all, NONE]);
    let few = 1 << Capability::NET_BIND_SERVICE.number();
    let asked = as_stranger(asking(&[Capability::NET_BIND_SERVICE]));
    let (sets, bound) = powers(spawner(), asked.clone()).await.expect("starts");
    assert_eq!((sets, bound), ([few, few, few, all, few], false));
    let bound = Command { no_new_privs: true, ..asked };
    let (sets, bound) = powers(spawner(), bound).await.expect("starts");
    assert_eq!((sets, bound), ([few, few, few, all, few], true), "both together");
}

#[tokio::test]
async fn what_cafe_does_not_have_it_cannot_give() {
    let asked = asking(&[Capability::KILL]);
    let error = powers(spawner_with(Capabilities::NONE), asked).await.expect_err("refused");
    assert_eq!(error.code(), Code::NotPermitted);
    assert!(error.to_string().contains("take the capabilities"), "{error}");
}

#[tokio::test]
async fn no_new_privs_needs_no_right() {
    let bound = Command { no_new_privs: true, ..show() };
    let (_, bound) = powers(spawner_with(Capabilities::NONE), bound).await.expect("starts");
    assert!(bound);
}
