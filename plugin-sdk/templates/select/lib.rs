//! Round robin: the clients that took part longest ago train next, those that never did before all
//! others, ties to the lower id. With a fixed cohort size everyone trains equally often.

use colla_plugin_sdk::{Clients, Parameters, Plugin, Result, Select, colla_plugin};

struct RoundRobin {
    min_examples: f64,
}

impl Plugin for RoundRobin {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(RoundRobin {
            min_examples: parameters.f64("min-examples")?,
        })
    }
}

impl Select for RoundRobin {
    fn select(&mut self, clients: Clients<'_>, size: usize) -> Result<Vec<u32>> {
        // (last round, id); the last round of those that never took part is 0.
        let mut queue: Vec<(u64, u32)> = (0..)
            .zip(clients.iter())
            .filter(|(_, known)| known.num_examples >= self.min_examples)
            .map(|(id, known)| (known.last.map_or(0, |(round, _)| round), id))
            .collect();
        queue.sort_unstable();
        Ok(queue.into_iter().take(size).map(|(_, id)| id).collect())
    }
}

colla_plugin!(RoundRobin: select);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn who_has_waited_longest_trains_and_small_clients_never_do() {
        let mut plugin = Testbed::<RoundRobin>::new(&[("min-examples", 5i64.into())]);
        // (examples, last loss, last round)
        let clients = [
            [10.0, 0.5, 4.0],
            [10.0, 0.5, 2.0],
            [4.0, 0.0, 0.0],
            [10.0, 0.5, 3.0],
            [10.0, 0.0, 0.0],
        ];
        assert_eq!(plugin.select(&clients, 3).unwrap(), [4.0, 1.0, 3.0]);
        assert_eq!(
            plugin.select(&clients, 5).unwrap(),
            [4.0, 1.0, 3.0, 0.0, -1.0]
        );
    }
}
