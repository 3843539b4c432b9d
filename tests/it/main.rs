//! The whole product from outside: the real binary, real processes, the control API.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod chaos;
mod cli;
mod control;
mod crash;
mod end;
mod faults;
mod harness;
mod input;
mod lifecycle;
mod logs;
mod otp;
mod privileges;
mod reload;
mod tidy;
