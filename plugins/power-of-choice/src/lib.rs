//! Power-of-choice, Cho, Wang and Joshi (arXiv:2010.01243), in the paper's variant π_rpow-d: of d candidates, drawn without
//! replacement with probabilities in proportion to their numbers of examples, the m with the highest loss train. The loss
//! of a client is the mean training loss that it reported when it last took part, and infinite if it never did, so nobody
//! is asked for it. (π_pow-d asks all candidates for their current loss, which costs a download and a pass over the
//! data of each.)
//!
//! The draw: client k waits for −ln(uₖ)/nₖ, uₖ uniform, and the d who wait least are the candidates; that is drawing one
//! after another without replacement (Efraimidis and Spirakis, 2006). Among equal losses whoever was drawn first trains,
//! then the lower id; so with equal losses, and in the first round, this is sampling by the number of examples.

use colla_plugin_sdk::math::libm;
use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{Clients, Error, Parameters, Plugin, Result, Select, colla_plugin};
use std::cmp::Ordering;

struct PowerOfChoice {
    /// d; 0 stands for 2m.
    candidates: usize,
}

/// The plugin's only random stream.
const DRAW: u16 = 0;

/// A client that can be chosen.
#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    wait: f64,
    loss: f64,
}

impl Candidate {
    fn by_wait(&self, other: &Self) -> Ordering {
        self.wait.total_cmp(&other.wait).then(self.id.cmp(&other.id))
    }

    fn by_loss(&self, other: &Self) -> Ordering {
        other.loss.total_cmp(&self.loss).then(self.by_wait(other))
    }
}

impl Plugin for PowerOfChoice {
    fn create(parameters: &Parameters) -> Result<Self> {
        let d = parameters.i64("d")?;
        let candidates = usize::try_from(d).map_err(|_| Error::config(format!("`d` is {d}; use 0 to 4294967295")))?;
        Ok(PowerOfChoice { candidates })
    }
}

impl Select for PowerOfChoice {
    fn select(&mut self, clients: Clients<'_>, size: usize) -> Result<Vec<u32>> {
        let wanted = if self.candidates == 0 { size.saturating_mul(2) } else { self.candidates };
        if wanted < size {
            return Err(Error::config(format!(
                "`d` is {wanted} candidates, but {size} clients train in a round; use 0 or {size} and more"
            )));
        }
        let mut candidates = draw(clients)?;
        keep_first(&mut candidates, wanted, Candidate::by_wait);
        keep_first(&mut candidates, size, Candidate::by_loss);
        let mut chosen: Vec<u32> = candidates.into_iter().map(|candidate| candidate.id).collect();
        chosen.sort_unstable();
        Ok(chosen)
    }
}

/// All clients with examples, with their waits.
fn draw(clients: Clients<'_>) -> Result<Vec<Candidate>> {
    let mut words = vec![0; clients.len()];
    random::u32s(Scope::Round, DRAW, 0, &mut words)?;
    let drawn = clients.iter().zip(words).enumerate().filter(|(_, (known, _))| known.num_examples > 0.0);
    let candidate = drawn.map(|(id, (known, word))| {
        // In the middle of its 2⁻³² of the unit interval: never 0, whose logarithm is infinite.
        let uniform = (f64::from(word) + 0.5) / (1u64 << 32) as f64;
        let loss = known.last.map_or(f64::INFINITY, |(_, loss)| loss);
        Candidate { id: id as u32, wait: -libm::log(uniform) / known.num_examples, loss }
    });
    Ok(candidate.collect())
}

/// Drops all but the `count` first in this order; what is left has no order.
fn keep_first(candidates: &mut Vec<Candidate>, count: usize, order: fn(&Candidate, &Candidate) -> Ordering) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count, order);
        candidates.truncate(count);
    }
}

colla_plugin!(PowerOfChoice: select);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    fn plugin(d: i64, round: u64) -> Testbed<PowerOfChoice> {
        let mut plugin = Testbed::new(&[("d", d.into())]);
        plugin.circumstances(round, 0);
        plugin
    }

    /// Examples, last loss, last round.
    fn seen(losses: &[f64]) -> Vec<[f64; 3]> {
        losses.iter().map(|&loss| [10.0, loss, 1.0]).collect()
    }

    #[test]
    fn with_all_clients_as_candidates_the_highest_losses_are_chosen() {
        let clients = seen(&[0.5, 2.0, 0.1, 3.0, 1.0]);
        assert_eq!(plugin(5, 1).select(&clients, 2).unwrap(), [1.0, 3.0]);
        assert_eq!(plugin(5, 1).select(&clients, 3).unwrap(), [1.0, 3.0, 4.0]);
    }

    #[test]
    fn clients_that_never_took_part_come_first() {
        let mut clients = seen(&[0.5, 9.0, 0.1]);
        clients.push([10.0, 0.0, 0.0]);
        assert_eq!(plugin(4, 1).select(&clients, 2).unwrap(), [1.0, 3.0]);
    }

    #[test]
    fn clients_without_examples_are_never_chosen() {
        let clients = [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 9.0, 1.0]];
        assert_eq!(plugin(0, 1).select(&clients, 3).unwrap(), [1.0, -1.0, -1.0]);
        assert_eq!(plugin(0, 1).select(&[[0.0; 3]; 2], 1).unwrap(), [-1.0]);
    }

    #[test]
    fn with_as_many_candidates_as_places_the_losses_do_not_matter() {
        for round in 1..50 {
            let flat = plugin(4, round).select(&seen(&[1.0; 20]), 4).unwrap();
            let steep: Vec<f64> = (0..20).map(f64::from).collect();
            assert_eq!(plugin(4, round).select(&seen(&steep), 4).unwrap(), flat);
        }
    }

    #[test]
    fn the_default_draws_twice_as_many_candidates_as_places() {
        let clients = seen(&(0..20).map(f64::from).collect::<Vec<_>>());
        for round in 1..20 {
            let chosen = plugin(0, round).select(&clients, 3).unwrap();
            assert_eq!(chosen, plugin(6, round).select(&clients, 3).unwrap());
        }
    }

    /// One place, one candidate: client k is chosen with probability nₖ/Σn. Two without replacement: client 2 of sizes
    /// 1, 2, 3 is among them with probability 3/6 + 1/6·3/5 + 2/6·3/4 = 0.85.
    #[test]
    fn candidates_are_drawn_in_proportion_to_their_examples_and_without_replacement() {
        let clients = [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [3.0, 0.0, 0.0]];
        let rounds = 20_000;
        let (mut first, mut among_two) = ([0.0; 3], 0.0);
        for round in 0..rounds {
            first[plugin(1, round).select(&clients, 1).unwrap()[0] as usize] += 1.0 / rounds as f64;
            let two = plugin(2, round).select(&clients, 2).unwrap();
            among_two += f64::from(two.contains(&2.0)) / rounds as f64;
        }
        // Five standard errors of a share of one half: 5·0.5/√20000 = 0.018.
        for (share, expected) in first.into_iter().chain([among_two]).zip([1.0 / 6.0, 1.0 / 3.0, 0.5, 0.85]) {
            assert!((share - expected).abs() < 0.018, "{share} for {expected}");
        }
    }

    #[test]
    fn fewer_candidates_than_places_are_refused() {
        let error = plugin(2, 1).select(&seen(&[1.0; 5]), 3).unwrap_err();
        assert_eq!(error.message, "`d` is 2 candidates, but 3 clients train in a round; use 0 or 3 and more");
    }
}
