//! The command line as it is typed, and what it prints, against a fake daemon on a real socket.

mod golden;
mod parsing;
mod verbs;
