//! What services write, kept in files: one thread pumps every pipe to rotating files, readers read the files.
//!
//! Bytes of a service never pass an actor, a mailbox or the async runtime. The [`pump`] owns the read ends of
//! all pipes and writes `<dir>/<service>/current`; full files become archives, compressed by a second thread.
//! Readers ([`read`]) need no daemon: they look at the files alone, so a slow reader cannot slow a service.
//!
//! A cafe that is killed loses none of it: between pipe and file, bytes are in a file of `transit`.
//!
//! What a line looks like on disk is in [`mod@line`], how files are named in [`dir`].

pub mod dir;
pub mod error;
pub mod line;
pub mod pipe;
pub mod pump;
pub mod read;

mod archive;
mod excerpt;
mod frame;
mod kill;
mod sink;
mod transit;

pub use error::Error;
pub use excerpt::Excerpt;
pub use pipe::{adopt, pipe};
pub use pump::{
    Limits, Notice, Options, Pump, STALLED, SinkOptions, Source, State as SuspendedState, Suspended,
};
