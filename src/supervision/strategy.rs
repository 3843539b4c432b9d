//! Which children go down and up with the one that ended. Owns nothing, never waits, never decides whether to restart.

use crate::types::policy::Strategy;

/// The children a restart of `order[position]` takes, in start order; they are stopped in reverse.
///
/// `order` is the start order of all children. Out of range gives no children.
#[must_use]
pub fn affected(strategy: Strategy, order: &[usize], position: usize) -> &[usize] {
    if position >= order.len() {
        return &[];
    }
    match strategy {
        Strategy::OneForOne => &order[position..=position],
        Strategy::OneForAll => order,
        Strategy::RestForOne => &order[position..],
    }
}

#[cfg(test)]
mod tests {
    use super::affected;
    use crate::types::policy::Strategy;

    #[test]
    fn one_for_one_takes_the_child_alone() {
        assert_eq!(affected(Strategy::OneForOne, &[4, 7, 9], 1), [7]);
    }

    #[test]
    fn one_for_all_takes_everyone() {
        assert_eq!(affected(Strategy::OneForAll, &[4, 7, 9], 2), [4, 7, 9]);
    }

    #[test]
    fn rest_for_one_takes_the_child_and_those_after_it() {
        assert_eq!(affected(Strategy::RestForOne, &[4, 7, 9], 1), [7, 9]);
    }

    #[test]
    fn a_position_out_of_range_takes_nobody() {
        for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
            assert!(affected(strategy, &[4, 7], 2).is_empty());
        }
    }
}
