//! The whole product from outside: the real binary, real processes, the control API.

mod crash;
mod end;
mod harness;
mod lifecycle;
mod otp;
