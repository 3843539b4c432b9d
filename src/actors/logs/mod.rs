//! `logs/`: the actor that speaks for the log pump. The bytes themselves never pass an actor.

pub(crate) mod pump;
