//! Flows between two of their steps.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::visit::Visit;
use crate::bench::schedule::Arrival;

/// What is to be begun: an arrival of the schedule, or the next step of a flow.
#[derive(Debug)]
pub struct Call {
    /// Its number, and when it is due.
    pub arrival: Arrival,
    /// The run through a flow of which it is a step.
    pub visit: Option<Box<Visit>>,
}

/// The next steps of flows, by when they are due.
#[derive(Debug, Default)]
pub struct Later {
    /// When, and which place; ties by place.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    places: Vec<Option<Call>>,
    vacant: Vec<usize>,
}

impl Later {
    /// Keeps a call until it is due.
    pub fn push(&mut self, call: Call) {
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.due.push(Reverse((call.arrival.at_ns, place)));
        self.places[place] = Some(call);
    }

    /// When the first is due.
    pub fn first_due(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the first one out.
    pub fn pop(&mut self) -> Option<Call> {
        let Reverse((_, place)) = self.due.pop()?;
        self.vacant.push(place);
        self.places[place].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_out_by_their_due_time() {
        let mut later = Later::default();
        let call = |n, at_ns| Call { arrival: Arrival { n, at_ns }, visit: None };
        [(1, 30), (2, 10), (3, 20)].into_iter().for_each(|(n, at)| later.push(call(n, at)));
        assert_eq!(later.first_due(), Some(10));
        assert_eq!(later.pop().unwrap().arrival.n, 2);
        later.push(call(4, 5));
        let order: Vec<_> = std::iter::from_fn(|| later.pop()).map(|c| c.arrival.n).collect();
        assert_eq!(order, [4, 3, 1]);
        assert!(later.first_due().is_none());
    }
}
