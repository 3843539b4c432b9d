//! The control API: bytes on a unix socket to typed requests, and back. Sockets that services accept on.
//!
//! An island: it knows the words of `types`, never who answers. `api` routes requests to a [`api::Backend`],
//! `server` speaks HTTP/1.1 on the socket and bounds every client, `control` is the client and the documents
//! both sides share, `socket` makes the socket file. `listener` binds what services listen on.

pub mod api;
pub mod control;
pub mod listener;
pub mod probe;
pub mod server;
pub mod socket;

mod error;
#[cfg(test)]
pub(crate) mod fake;

pub use error::Error;
