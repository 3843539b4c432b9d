//! The whole product from outside: the real binary, real processes, the control API.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod chaos;
mod cli;
mod control;
mod crash;
mod docker;
mod end;
mod faults;
mod harness;
mod init;
mod input;
mod journal;
mod lifecycle;
mod listen;
mod logs;
mod otp;
mod overlap;
mod privileges;
mod reload;
mod significant;
mod tidy;
