//! A service that says over `sd_notify(3)` what the test tells it to: shells cannot send datagrams.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use super::Cafe;

/// The FIFO a notifier reads, held open by the test.
#[derive(Debug)]
pub(crate) struct Orders(File);

impl Orders {
    /// Has the service send a notification, such as `READY=1`.
    pub(crate) fn say(&mut self, notification: &str) {
        writeln!(self.0, "{notification}").expect("orders are read");
    }
}

/// Arguments of this very binary that make it the program below.
const ARGUMENTS: [&str; 5] =
    ["--exact", "harness::notifier::notifier", "--ignored", "--nocapture", "--quiet"];

/// A shell command that becomes a notifier; reads [`Cafe::orders`] of the same name, until it is told to `quit`.
pub(crate) fn notifier_in(orders: &str) -> String {
    let binary: PathBuf = std::env::current_exe().expect("path of the test binary");
    let binary = binary.to_str().expect("a path in UTF-8");
    format!("exec env ORDERS={orders} '{binary}' {}", ARGUMENTS.join(" "))
}

impl Cafe {
    /// Makes the FIFO that a notifier reads.
    pub(crate) fn orders(&self, name: &str) -> Orders {
        self.fifo(name);
        // Opened for both, so that neither side ever waits for the other or sees an end.
        let both = OpenOptions::new().read(true).write(true).open(self.path(name));
        Orders(both.expect("a FIFO"))
    }
}

#[test]
#[ignore = "no test: the program of services that speak sd_notify"]
fn notifier() {
    let Some(orders) = std::env::var_os("ORDERS") else { return };
    let daemon = std::env::var_os("NOTIFY_SOCKET").expect("a notify socket");
    let socket = UnixDatagram::unbound().expect("a socket");
    let orders = OpenOptions::new().read(true).write(true).open(orders).expect("the orders");
    for line in BufReader::new(orders).lines() {
        let line = line.expect("an order");
        if line == "quit" {
            return;
        }
        socket.send_to(line.as_bytes(), &daemon).expect("cafe hears");
    }
}
