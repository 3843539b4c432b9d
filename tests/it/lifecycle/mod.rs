//! The life of one service and of a few: what starts, restarts and stops it, and what is said of it.

mod health;
mod notify;
mod order;
mod post_mortem;
mod ready;
mod restart;
mod stop;
mod timer;
