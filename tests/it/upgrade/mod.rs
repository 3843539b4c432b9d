//! `cafe upgrade`: the daemon becomes another program, and nothing else changes.

mod faults;
mod load;
mod output;
mod services;

use cafe::types::status::Upgrade;

use crate::harness::Cafe;

/// Has the daemon become the program it is, and gives what came of it.
fn upgrade(cafe: &Cafe) -> Upgrade {
    let output = cafe.cli(&["upgrade", "-o", "json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", cafe.console());
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::from_value(document["upgrade"].clone()).unwrap()
}
