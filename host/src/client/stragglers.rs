//! Stragglers: clients of a cohort that do not finish their work in time, drawn anew in each round.
//!
//! The model of FedProx's experiments (arXiv:1812.06127, section 5.2, and its authors' code): of a cohort of m clients
//! the whole number nearest to share·m are late. Where the others train for E epochs, each of them gets through a number
//! of epochs that is uniform on 1..E−1, and what it has then is either aggregated or dropped.
//! Where in the flow: between the cohort and its tasks. Draws are functions of seed, round and client, so the same clients
//! are late in every run with the same cohorts, whatever the method and whatever becomes of their work.
//! What it never does: know what a late client would have learnt.

use super::ClientId;
use crate::{
    config::{self, StragglerWork},
    random::{Purpose, Stream},
};
use std::collections::BTreeSet;

/// The stragglers of one round.
#[derive(Clone, Debug)]
pub struct Late {
    clients: BTreeSet<ClientId>,
    work: StragglerWork,
    seed: u64,
    round: u64,
}

/// Stragglers of a cohort of so many: share·cohort, rounded to the nearest whole number, halves up.
pub fn count(settings: &config::Stragglers, cohort: usize) -> usize {
    // As for cohorts: products such as 0.35·10 mean what they say.
    ((settings.share * cohort as f64 + 1e-9).round() as usize).min(cohort)
}

/// Clients of a cohort of so many whose updates reach the server.
pub fn arriving(settings: Option<&config::Stragglers>, cohort: usize) -> usize {
    match settings {
        Some(settings) if settings.work == StragglerWork::Dropped => cohort - count(settings, cohort),
        _ => cohort,
    }
}

impl Late {
    /// Those of the cohort that are late in this round; nobody without settings.
    pub fn draw(settings: Option<&config::Stragglers>, seed: u64, round: u64, cohort: &[ClientId]) -> Self {
        let settings = settings.copied().unwrap_or_default();
        let count = count(&settings, cohort.len());
        let places = Stream::new(seed, Purpose::Stragglers, round, 0).choose(cohort.len() as u64, count);
        let clients = places.into_iter().map(|place| cohort[place as usize]).collect();
        Late { clients, work: settings.work, seed, round }
    }

    pub fn count(&self) -> usize {
        self.clients.len()
    }

    /// Those of the cohort whose updates reach the server, in its order.
    pub fn arriving(&self, cohort: &[ClientId]) -> Vec<ClientId> {
        let arrives = |client: &&ClientId| self.work == StragglerWork::Kept || !self.clients.contains(client);
        cohort.iter().filter(arrives).copied().collect()
    }

    /// How many of `whole` epochs, or steps, the client does: all of them, or from 1 to `whole` − 1, each as likely, if it
    /// is late. `None` where a late client cannot do less, because `whole` is 1.
    pub fn done(&self, client: ClientId, whole: u64) -> Option<u64> {
        if !self.clients.contains(&client) {
            return Some(whole);
        }
        let fewer = whole.checked_sub(1).filter(|fewer| *fewer > 0)?;
        Some(1 + Stream::new(self.seed, Purpose::StragglerWork, self.round, client.0.into()).below(fewer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Stragglers;

    fn settings(share: f64, work: StragglerWork) -> Stragglers {
        Stragglers { share, work }
    }

    fn cohort(size: u32) -> Vec<ClientId> {
        (0..size).map(|i| ClientId(3 * i + 1)).collect()
    }

    #[test]
    fn the_nearest_whole_number_of_a_cohort_is_late() {
        for (share, cohort, late) in
            [(0.9, 10, 9), (0.35, 10, 4), (0.29, 50, 15), (0.5, 5, 3), (0.04, 10, 0), (1.0, 7, 7)]
        {
            let settings = settings(share, StragglerWork::Dropped);
            assert_eq!(count(&settings, cohort), late, "{share} of {cohort}");
            assert_eq!(arriving(Some(&settings), cohort), cohort - late);
            let kept = Stragglers { work: StragglerWork::Kept, ..settings };
            assert_eq!(arriving(Some(&kept), cohort), cohort);
        }
        assert_eq!(arriving(None, 5), 5);
    }

    #[test]
    fn without_settings_or_with_a_share_of_zero_everybody_does_everything() {
        let cohort = cohort(20);
        for settings in [None, Some(settings(0.0, StragglerWork::Dropped))] {
            let late = Late::draw(settings.as_ref(), 1, 1, &cohort);
            assert_eq!((late.count(), late.arriving(&cohort)), (0, cohort.clone()));
            assert!(cohort.iter().all(|&client| late.done(client, 1) == Some(1) && late.done(client, 9) == Some(9)));
        }
    }

    #[test]
    fn what_becomes_of_the_work_does_not_change_who_is_late() {
        let cohort = cohort(30);
        let dropped = Late::draw(Some(&settings(0.4, StragglerWork::Dropped)), 7, 3, &cohort);
        let kept = Late::draw(Some(&settings(0.4, StragglerWork::Kept)), 7, 3, &cohort);
        assert_eq!(kept.arriving(&cohort), cohort);
        let arriving = dropped.arriving(&cohort);
        assert_eq!(arriving.len(), 18);
        for client in cohort {
            assert_eq!(kept.done(client, 1_000_000), dropped.done(client, 1_000_000));
            assert_eq!(arriving.contains(&client), kept.done(client, 10) == Some(10));
        }
    }

    #[test]
    fn every_client_is_late_equally_often_and_each_number_of_epochs_is_as_likely() {
        let (cohort, settings) = (cohort(10), settings(0.7, StragglerWork::Kept));
        let (mut late_rounds, mut epochs) = ([0u32; 10], [0u32; 10]);
        for round in 1..=4000 {
            let late = Late::draw(Some(&settings), 11, round, &cohort);
            assert_eq!(late.count(), 7);
            for (place, &client) in cohort.iter().enumerate() {
                let done = late.done(client, 10).unwrap() as usize;
                if done < 10 {
                    (late_rounds[place], epochs[done]) = (late_rounds[place] + 1, epochs[done] + 1);
                }
            }
        }
        // Binomial(4000, 0.7): mean 2800, sd 29; Binomial(28000, 1/9): mean 3111, sd 53. Five deviations each.
        assert!(late_rounds.iter().all(|&count| count.abs_diff(2800) < 145), "{late_rounds:?}");
        assert!(epochs[0] == 0 && epochs[1..].iter().all(|&count| count.abs_diff(3111) < 265), "{epochs:?}");
    }

    #[test]
    fn nothing_can_be_left_out_of_a_single_epoch() {
        let late = Late::draw(Some(&settings(1.0, StragglerWork::Kept)), 1, 1, &cohort(3));
        assert_eq!((late.done(ClientId(1), 1), late.done(ClientId(1), 2)), (None, Some(1)));
        assert_eq!(late.done(ClientId(2), 1), Some(1), "a client that is not of the cohort is not late");
    }
}
