//! How often the clients of a run stand in the nodes of a tree over its rounds.
//!
//! What a tree releases are the noisy sums of some of its nodes: round t, counted within its tree, releases the node of
//! level ℓ that ends with it, ℓ being the zeros at the end of t's binary form; every prefix is a sum of such nodes.
//! Given what was released before, each is a Gaussian mechanism: a client with c rounds in the node moves its sum by at
//! most c sensitivities, whatever the earlier releases made of its updates, so it costs α·c²/(2z²) at the order α, and
//! costs add up. So ε of a client rests on Σ c² over the released nodes.
//! Source: Kairouz et al. (arXiv:2103.00039), section 3 and appendix D.

use crate::client::ClientId;
use std::collections::HashMap;

/// Counts over the rounds so far.
pub(super) struct Nodes {
    /// Rounds of a tree; 0 for one tree without end.
    rounds: u64,
    /// Whether the last round of a tree releases the root alone.
    completed: bool,
    /// Rounds of the current tree so far.
    within: u64,
    /// The nodes into which these fall, the largest first: level, and how many of its rounds each client has.
    open: Vec<(u32, HashMap<ClientId, u64>)>,
    /// Σ c² of each client over all released nodes.
    squares: HashMap<ClientId, u64>,
    most: u64,
}

impl Nodes {
    pub fn new(rounds: u64, completed: bool) -> Self {
        Nodes { rounds, completed, within: 0, open: Vec::new(), squares: HashMap::new(), most: 0 }
    }

    /// The largest Σ c² of a client.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// One more round, in which `cohort` takes part.
    pub fn add(&mut self, cohort: &[ClientId]) {
        self.within += 1;
        let ends = self.within == self.rounds;
        self.open.push((0, cohort.iter().map(|&client| (client, 1)).collect()));
        // As in binary counting; the root of a completed tree takes all.
        while let [.., (left, _), (right, _)] = self.open[..]
            && (left == right || ends && self.completed)
        {
            self.join();
        }
        self.release();
        if ends {
            self.within = 0;
            self.open.clear();
        }
    }

    /// Makes one node of the last two.
    fn join(&mut self) {
        let (Some((_, right)), Some((level, left))) = (self.open.pop(), self.open.pop()) else { return };
        let (mut into, from) = if left.len() < right.len() { (right, left) } else { (left, right) };
        from.into_iter().for_each(|(client, count)| *into.entry(client).or_default() += count);
        self.open.push((level + 1, into));
    }

    fn release(&mut self) {
        let Some((_, counts)) = self.open.last() else { return };
        for (&client, &count) in counts {
            let squares = self.squares.entry(client).or_default();
            *squares += count * count;
            self.most = self.most.max(*squares);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ c² of one client that takes part in `its` rounds of so many.
    fn squares(nodes: &mut Nodes, rounds: u64, its: &[u64]) -> u64 {
        for round in 1..=rounds {
            nodes.add(if its.contains(&round) { &[ClientId(7)] } else { &[] });
        }
        nodes.most()
    }

    #[test]
    fn a_round_costs_as_many_nodes_as_are_released_over_it() {
        // Of eight rounds: 1 lies in [1], [1, 2], [1..4] and [1..8]; 2 in all but [1]; 8 in [1..8] alone; 7 in [7] and
        // [1..8].
        for (round, expected) in [(1, 4), (2, 3), (7, 2), (8, 1)] {
            assert_eq!(squares(&mut Nodes::new(0, false), 8, &[round]), expected, "round {round}");
        }
        // Before its node ends, nothing of a longer one is released.
        assert_eq!(squares(&mut Nodes::new(0, false), 3, &[1]), 2);
    }

    #[test]
    fn rounds_within_one_node_add_up_before_they_are_squared() {
        // 1 and 2: [1] once, [1, 2] twice, [1..4] twice: 1 + 4 + 4.
        assert_eq!(squares(&mut Nodes::new(0, false), 4, &[1, 2]), 9);
        // 1, 2, 3 and 4: [1], [1, 2], [3], [1..4]: 1 + 4 + 1 + 16.
        assert_eq!(squares(&mut Nodes::new(0, false), 4, &[1, 2, 3, 4]), 22);
    }

    #[test]
    fn trees_compose_and_a_completed_one_ends_in_its_root() {
        // Trees of three rounds. Plain: [1], [1, 2], [3] each. Completed: [1], [1, 2], and the root over all three.
        assert_eq!(squares(&mut Nodes::new(3, false), 6, &[1, 4]), 2 + 2);
        assert_eq!(squares(&mut Nodes::new(3, true), 6, &[1, 4]), 3 + 3);
        assert_eq!(squares(&mut Nodes::new(3, true), 3, &[1, 2, 3]), 1 + 4 + 9);
        // Six rounds, completed: [1], [1, 2], [3], [1..4], [5], root.
        assert_eq!(squares(&mut Nodes::new(6, true), 6, &[3, 5]), 1 + 1 + 1 + 4);
    }

    #[test]
    fn the_client_that_costs_most_counts() {
        let mut nodes = Nodes::new(0, false);
        nodes.add(&[ClientId(1), ClientId(2)]);
        nodes.add(&[ClientId(2)]);
        // 1: [1], [1, 2]: 2. 2: 1 + 4.
        assert_eq!(nodes.most(), 5);
    }
}
