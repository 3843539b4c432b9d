//! A random source written down as its state: read again, it goes on where it was.

use fastrand::Rng;
use serde::{Deserialize as _, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(random: &Rng, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(random.get_seed())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rng, D::Error> {
    u64::deserialize(deserializer).map(Rng::with_seed)
}
