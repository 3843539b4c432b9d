//! cafe runs a Linux server: it starts services from one file and keeps them alive.
//!
//! A `cafe.ron` is read and checked by [`config`]; [`daemon`] starts the tree of [`actors`], which decide with
//! the pure functions of [`supervision`], act on the machine through [`os`], and keep what services write in
//! [`logs`]. The control API in [`net`] shows and changes it; the [`cli`] speaks to that API.

pub mod types;

pub mod config;
pub mod logs;
pub mod net;
pub mod os;
pub mod supervision;

pub mod actors;

pub mod cli;

pub mod daemon;
