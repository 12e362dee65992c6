//! Role client, and attacks on training: what the strategy adds to local training.
//!
//! Each client plugin answers CLIENT_BEGIN with a plan, the run's attack ATTACK_BEGIN for hostile clients; terms are fused
//! into the optimizer step, so no plugin code runs inside the training loop. Terms that several plugins give for the
//! uploaded phase add up; personal phases run after it, in the plugins' order and then the plan's.
//! What it never does: hold values of a slot. A plan names slots; agents look them up.

mod read;

pub use read::{Of, parse};

use super::{Member, Roster, hostile::Hostile};
use crate::{
    client::{ClientId, SlotId},
    error::{Fault, Kind},
    plugin::{AttackedPart, Role},
    stages::failure,
    train::Term,
};
use anyhow::Result;
use colla_plugin_sdk::{Map, abi::op};
use std::sync::Arc;

/// A slot as a plan may name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotRef {
    /// A slot of the client that trains.
    Client(SlotId),
    /// A broadcast slot of the server step: its position among those that are broadcast.
    Broadcast(usize),
}

/// How long a phase is where it does not take the configured length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Epochs(u64),
    Steps(u64),
}

impl std::fmt::Display for Length {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Length::Epochs(1) => f.write_str("1 epoch"),
            Length::Epochs(epochs) => write!(f, "{epochs} epochs"),
            Length::Steps(1) => f.write_str("1 step"),
            Length::Steps(steps) => write!(f, "{steps} steps"),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phase {
    pub terms: Vec<Term<SlotRef>>,
    pub length: Option<Length>,
}

/// A phase that starts from a slot of the client and ends in it.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonalPhase {
    pub slot: SlotId,
    /// Tells its batch order from that of all other phases of the run; never 0.
    pub stream: u32,
    pub phase: Phase,
}

/// What one client does in one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalPlan {
    /// From the received weights to the upload.
    pub upload: Phase,
    /// The slot with the tensors that stay the client's own in the uploaded phase.
    pub own_tensors: Option<SlotId>,
    pub personal: Vec<PersonalPhase>,
    /// What the client takes each class for, in all of its training.
    pub relabel: Option<Arc<[u32]>>,
}

/// A client that is to train.
#[derive(Clone, Copy, Debug)]
pub struct Trainee {
    pub round: u64,
    pub client: ClientId,
    pub num_examples: usize,
    /// Classes of the data.
    pub num_classes: usize,
}

/// Asks every client plugin for its part of one client's plan, and of a hostile client the attack on training for its.
///
/// Errors: a plugin failure for a plan that cannot be read; `Kind::Config` where two plugins want the uploaded phase to
/// be of different length, or both keep tensors from it.
pub fn plan(roster: &mut Roster, hostile: Option<&Hostile>, trainee: Trainee) -> Result<LocalPlan> {
    let mut whole = Merged::default();
    for member in roster.with_role(Role::Client) {
        let plan = ask(member, op::CLIENT_BEGIN, trainee, Of::Client)?;
        whole.add(member.name(), plan)?;
    }
    let misled = |hostile: &&Hostile| hostile.attacks(AttackedPart::Training) && hostile.contains(trainee.client);
    if let Some(hostile) = hostile.filter(misled) {
        let member = &mut roster.members[hostile.index];
        let plan = ask(member, op::ATTACK_BEGIN, trainee, Of::Attack { num_classes: trainee.num_classes })?;
        whole.add(member.name(), plan)?;
    }
    Ok(whole.plan)
}

/// One plugin's part of the plan.
fn ask(member: &mut Member, operation: u32, trainee: Trainee, of: Of) -> Result<LocalPlan> {
    let Trainee { round, client, num_examples, num_classes } = trainee;
    let message = Map::new()
        .with("round", round as i64)
        .with("client", i64::from(client.0))
        .with("num_examples", num_examples as i64);
    let message = match of {
        Of::Client => message,
        Of::Attack { .. } => message.with("num_classes", num_classes as i64),
    };
    let callbacks = member.callbacks(round, Some(client));
    member.control.set_callbacks(callbacks);
    let reply = member.control.call(operation, &message.with("broadcast", member.broadcast.clone()))?;
    let plan = parse(&reply, member.plugin.manifest(), member.position(), of);
    Ok(plan.map_err(|message| failure(member.name(), operation, message))?)
}

/// The plans so far, with who said what only one plugin can say.
#[derive(Default)]
struct Merged {
    plan: LocalPlan,
    lengthened_by: String,
    owned_by: String,
}

impl Merged {
    fn add(&mut self, name: &str, plan: LocalPlan) -> Result<()> {
        let refuse = |other: &str, why: String| {
            Err(Fault::new(Kind::Config, format!("plugins `{other}` and `{name}` — {why}; leave one out")))
        };
        let whole = &mut self.plan;
        whole.upload.terms.extend(plan.upload.terms);
        whole.personal.extend(plan.personal);
        // Only the one attack of a run relabels.
        whole.relabel = plan.relabel.or(whole.relabel.take());
        match (whole.own_tensors, plan.own_tensors) {
            (Some(_), Some(_)) => {
                let why = "both keep tensors of a client from the common model, which only one can";
                return refuse(&self.owned_by, why.into());
            }
            (None, Some(slot)) => {
                whole.own_tensors = Some(slot);
                self.owned_by = name.to_owned();
            }
            _ => {}
        }
        match (whole.upload.length, plan.upload.length) {
            (Some(first), Some(second)) if first != second => {
                refuse(&self.lengthened_by, format!("they train the uploaded model for {first} and for {second}"))
            }
            (None, Some(length)) => {
                whole.upload.length = Some(length);
                self.lengthened_by = name.to_owned();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
