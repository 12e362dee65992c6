//! Who is hostile, and how: for experiments with robust rules.
//!
//! It is fixed for the run: a share of all clients, drawn by a stream of its own, or a list. The run's plugin of the role
//! attack says what hostile clients do: how they train ([`local`](super::local) asks it), what they send in place of their
//! updates ([`Attack`](super::attack::Attack)), or both.
//! Where in the flow: before the first round; asked for each cohort. What it never does: change anything.

use super::Roster;
use crate::{
    client::ClientId,
    config,
    error::{Fault, Kind},
    plugin::{AttackedPart, Role},
    random::{Purpose, Stream},
};
use anyhow::Result;
use std::collections::BTreeSet;

/// The hostile clients of a run.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// Position of the attack in the roster.
    pub index: usize,
    clients: BTreeSet<ClientId>,
    /// What the attack acts on.
    parts: Vec<AttackedPart>,
}

impl Hostile {
    /// Those of a run with an attack.
    ///
    /// Errors: `Kind::Config` for a plugin without an `[attack]` section, for a section without a plugin, for an id that
    /// no client has.
    pub fn new(
        roster: &Roster,
        settings: Option<&config::Attack>,
        num_clients: usize,
        run_seed: u64,
    ) -> Result<Option<Self>> {
        match (roster.position_of(Role::Attack), settings) {
            (None, None) => Ok(None),
            (Some(index), None) => Err(Fault::new(
                Kind::Config,
                format!(
                    "plugin `{}` attacks — but nobody is hostile; say who in `[attack]`: `fraction` or `clients`",
                    roster.members[index].name()
                ),
            )),
            (None, Some(_)) => Err(Fault::new(
                Kind::Config,
                "config `[attack]` names hostile clients — but no plugin says what they do; add one of the role attack",
            )),
            (Some(index), Some(settings)) => {
                Ok(Some(Self::of(roster, index, chosen(settings, num_clients, run_seed)?)))
            }
        }
    }

    /// These clients, with the attack at `index` of the roster.
    pub fn of(roster: &Roster, index: usize, clients: BTreeSet<ClientId>) -> Self {
        let parts = roster.members[index].plugin.manifest().attacked_parts().to_vec();
        Hostile { index, clients, parts }
    }

    pub fn contains(&self, client: ClientId) -> bool {
        self.clients.contains(&client)
    }

    /// In the order of their ids.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> {
        self.clients.iter().copied()
    }

    /// How many of a cohort are hostile.
    pub fn count(&self, cohort: &[ClientId]) -> usize {
        cohort.iter().filter(|client| self.contains(**client)).count()
    }

    pub fn attacks(&self, part: AttackedPart) -> bool {
        self.parts.contains(&part)
    }
}

fn chosen(settings: &config::Attack, num_clients: usize, seed: u64) -> Result<BTreeSet<ClientId>> {
    if let Some(clients) = &settings.clients {
        return match clients.iter().find(|&&id| id as usize >= num_clients) {
            None => Ok(clients.iter().map(|&id| ClientId(id)).collect()),
            Some(id) => Err(Fault::new(
                Kind::Config,
                format!("config `attack.clients` names client {id}; there are {num_clients}, counted from 0"),
            )),
        };
    }
    let share = settings.fraction.unwrap_or(0.0);
    // As for cohorts: a share such as 0.29 of 100 clients means 29 of them.
    let count = ((share * num_clients as f64 + 1e-9) as usize).min(num_clients);
    // 0 says that nobody is meant, and is the first point of many a curve.
    if count == 0 && share > 0.0 {
        let least = 1.0 / num_clients as f64;
        return Err(Fault::new(
            Kind::Config,
            format!(
                "config `attack.fraction = {share}`: of {num_clients} clients that is nobody; use a share from {least} on, \
                 or 0 for a run without hostile clients"
            ),
        ));
    }
    let drawn = Stream::new(seed, Purpose::Attackers, 0, 0).choose(num_clients as u64, count);
    Ok(drawn.into_iter().map(|id| ClientId(id as u32)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_clients_is_hostile_and_another_seed_chooses_others() {
        let share =
            |fraction, seed| chosen(&config::Attack { fraction: Some(fraction), clients: None }, 100, seed).unwrap();
        assert_eq!((share(0.29, 1).len(), share(0.0, 1).len(), share(0.999, 1).len()), (29, 0, 99));
        assert_ne!(share(0.2, 1), share(0.2, 2));
        assert_eq!(share(0.2, 1), share(0.2, 1));
    }

    #[test]
    fn listed_clients_must_exist() {
        let listed =
            |clients: &[u32]| chosen(&config::Attack { fraction: None, clients: Some(clients.to_vec()) }, 5, 1);
        assert_eq!(listed(&[4, 0]).unwrap(), BTreeSet::from([ClientId(0), ClientId(4)]));
        let error = listed(&[5]).unwrap_err().to_string();
        assert_eq!(error, "config `attack.clients` names client 5; there are 5, counted from 0");
    }
}
