//! Thousands of random worlds. A failure prints its seed; `CAFE_SIM_SEED=N cargo test roster::tests::sim` runs
//! that one alone.

use super::world::World;

/// In a debug build a few seconds' worth.
const RUNS: u64 = if cfg!(debug_assertions) { 1_500 } else { 50_000 };

/// Runs one world for each seed, or the one that is asked for.
pub(crate) fn each_seed(mut run: impl FnMut(u64)) {
    let given = std::env::var("CAFE_SIM_SEED").ok();
    let one = given.map(|seed| seed.parse().expect("CAFE_SIM_SEED is a number"));
    let seeds = one.map_or(0..RUNS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        assert!(outcome.is_ok(), "broken with CAFE_SIM_SEED={seed}");
    }
}

#[test]
fn simulated_worlds_find_no_broken_promise() {
    each_seed(|seed| World::new(seed, Box::new(|_, _, _, _| {})).live());
}
