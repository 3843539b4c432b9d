//! The whole product from outside: the real binary, real processes, the control API.

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
mod reload;
mod tidy;
