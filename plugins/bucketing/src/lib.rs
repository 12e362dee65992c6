//! s-bucketing of Karimireddy, He and Jaggi (ICLR 2022, arXiv:2006.09365), Algorithm 1: n updates are shuffled and cut into
//! ⌈n/s⌉ buckets of s, the last one smaller where s does not divide n, and each bucket becomes its mean; then any robust rule
//! follows. Means of honest updates differ less than the updates of unlike clients do, without which robust rules lose them.
//! Each hostile client spoils one bucket, so the rule behind must stand as many hostile rows among n/s.
//!
//! The paper divides every bucket's sum by s, also that of a last one with fewer updates; here it is divided by how many
//! it holds, as in ByzFL, so that all rows are means.
//!
//! The shuffle is Fisher and Yates', from the last place down: place i takes the update at ⌊(wᵢ·(i + 1))/2³²⌋, where w is
//! stream 0 of the round's random words, word i for place i. Coefficients are 1/(updates in the bucket), in `f64`.

use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{Decision, DecisionPlan, Error, Gram, Mix, Parameters, Plugin, Result, colla_plugin, robust};

struct Bucketing {
    /// At least 1.
    s: usize,
}

impl Plugin for Bucketing {
    fn create(parameters: &Parameters) -> Result<Self> {
        match robust::count(parameters, "s")? {
            0 => Err(Error::config("`s` is 0; a bucket needs at least 1 update")),
            s => Ok(Bucketing { s }),
        }
    }
}

impl Mix for Bucketing {
    fn decision(&mut self, clients: u64) -> Result<DecisionPlan> {
        Ok(DecisionPlan::rows(clients.div_ceil(self.s as u64)))
    }

    fn decide(&mut self, gram: &Gram<'_>, mut decision: Decision<'_>) -> Result<()> {
        let (n, buckets) = (gram.rows(), decision.rows_out());
        if buckets != n.div_ceil(self.s) {
            let problem = format!("{n} updates make {} buckets, the host asks for {buckets}", n.div_ceil(self.s));
            return Err(Error::argument(problem));
        }
        for (bucket, members) in shuffled(n)?.chunks(self.s).enumerate() {
            let coefficients = decision.row(bucket);
            members.iter().for_each(|&update| coefficients[update] = 1.0 / members.len() as f64);
        }
        Ok(())
    }
}

/// The numbers below `n` in this round's order.
fn shuffled(n: usize) -> Result<Vec<usize>> {
    let mut words = vec![0; n];
    random::u32s(Scope::Round, 0, 0, &mut words)?;
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        // The bias of taking the upper bits is below n/2³².
        let j = (u64::from(words[i]) * (i as u64 + 1)) >> 32;
        order.swap(i, j as usize);
    }
    Ok(order)
}

colla_plugin!(Bucketing: mix);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    fn buckets(s: i64, n: usize, round: u64) -> Vec<Vec<f64>> {
        let mut plugin = Testbed::<Bucketing>::new(&[("s", s.into())]);
        plugin.circumstances(round, 0);
        plugin.decide(&vec![vec![1.0]; n], &vec![1.0; n]).unwrap()
    }

    #[test]
    fn every_update_is_in_one_bucket_and_each_bucket_is_a_mean() {
        for (s, n, sizes) in [(2, 7, vec![2, 2, 2, 1]), (3, 9, vec![3, 3, 3]), (5, 3, vec![3]), (1, 2, vec![1, 1])] {
            let given = buckets(s, n, 1);
            let members: Vec<usize> = given.iter().map(|row| row.iter().filter(|&&c| c != 0.0).count()).collect();
            assert_eq!(members, sizes);
            for (row, &size) in given.iter().zip(&sizes) {
                assert!(row.iter().all(|&c| c == 0.0 || c == 1.0 / size as f64), "{row:?}");
            }
            for update in 0..n {
                assert_eq!(given.iter().filter(|row| row[update] != 0.0).count(), 1, "update {update}");
            }
        }
    }

    #[test]
    fn each_round_draws_its_own_buckets_and_the_same_ones_again() {
        assert_eq!(buckets(2, 30, 4), buckets(2, 30, 4));
        assert_ne!(buckets(2, 30, 4), buckets(2, 30, 5));
    }

    #[test]
    fn every_pair_shares_a_bucket_about_equally_often() {
        // Of 6 updates in pairs, two given ones share a bucket with probability 1/5: 400 of 2,000 rounds, deviation 18.
        let mut together = [0; 36];
        for round in 0..2_000 {
            for bucket in buckets(2, 6, round) {
                let members: Vec<usize> = (0..6).filter(|&i| bucket[i] != 0.0).collect();
                together[6 * members[0] + members[1]] += 1;
            }
        }
        for i in 0..6 {
            for j in i + 1..6 {
                let rounds = together[6 * i + j];
                assert!((310..490).contains(&rounds), "{i} and {j}: {rounds}");
            }
        }
    }
}
