//! Any datagram of a service: no text of it can move a cursor or grow without bound.

#![no_main]

use cafe::os::notify::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let message = Message::parse(datagram);
    if let Some(status) = message.status {
        assert!(status.len() <= 3 * datagram.len());
    }
});
