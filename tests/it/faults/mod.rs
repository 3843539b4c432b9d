//! Faults around cafe: children that misbehave, a machine that runs out, clients that do.

mod children;
mod clients;
mod machine;
