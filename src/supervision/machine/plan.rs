//! From goals to orders: who may be stopped or started now. Changes nothing but the life of the children it gives orders for.

use std::time::Duration;

use super::{Child, Life, Machine, Order, State};

impl Machine {
    /// The next things to do; to be called after every event and at [`Machine::deadline`].
    pub fn orders(&mut self, now: Duration) -> Vec<Order> {
        self.end_backoffs(now);
        let mut orders = self.stops();
        self.starts(&mut orders);
        self.finish();
        orders
    }

    /// The earliest end of a backoff; none while nothing waits for time to pass.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.children.iter().flatten().filter_map(|child| child.until).min()
    }

    fn end_backoffs(&mut self, now: Duration) {
        for child in self.children.iter_mut().flatten() {
            child.until = child.until.filter(|until| *until > now);
        }
    }

    /// Planned stops one at a time from the last to the first; others at once. One that stops since before the plan
    /// holds up those before it alone: it may be waiting for one after it.
    fn stops(&mut self) -> Vec<Order> {
        let in_turn = !self.spec.parallel_stop;
        let mut busy = false;
        let mut orders = Vec::new();
        for index in (0..self.order.len()).rev() {
            let slot = self.order[index];
            let Ok(child) = self.known(slot) else { continue };
            busy |= in_turn && child.planned && child.life == Life::Stopping;
            if !child.needs_stop() || (child.planned && busy) {
                continue;
            }
            child.life = Life::Stopping;
            busy |= child.planned && in_turn;
            orders.push(Order::Stop(slot));
        }
        orders
    }

    /// Planned starts one at a time in order, when all stops are done and the longest delay is over; others when due.
    /// One that starts holds up those after it alone: it may be waiting for one before it.
    fn starts(&mut self, orders: &mut Vec<Order>) {
        let in_turn = !self.spec.parallel_start;
        let mut blocked = self.any_planned(|child| {
            let stops = child.life == Life::Stopping || child.needs_stop();
            stops || (child.needs_start() && child.until.is_some())
        });
        for index in 0..self.order.len() {
            let slot = self.order[index];
            let Ok(child) = self.known(slot) else { continue };
            blocked |= in_turn && child.planned && child.life == Life::Starting;
            if !child.needs_start() || child.until.is_some() || (child.planned && blocked) {
                continue;
            }
            child.life = Life::Starting;
            child.held = false;
            blocked |= child.planned && in_turn;
            orders.push(Order::Start(slot));
        }
    }

    /// A shutdown is over the moment nothing is left.
    fn finish(&mut self) {
        let down = |child: &Child| child.life == Life::Down;
        if self.state == State::ShuttingDown && self.children.iter().flatten().all(down) {
            self.state = State::Ended(self.because);
        }
    }

    fn any_planned(&self, what: impl Fn(&Child) -> bool) -> bool {
        self.children.iter().flatten().any(|child| child.planned && what(child))
    }
}
