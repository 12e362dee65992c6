//! How updates become new weights, as the plugins of the run decide it.
//!
//! Where in the flow: after the wire, before evaluation. [`Roster`] says who plays which role, [`requirements`] what a
//! method needs of the others, [`rehearsal`] whether rules take so many updates, [`hostile`] who attacks; [`select`] chooses the
//! cohort; [`local`] asks the client plugins, and the attack on training, for their plans, [`client_slots`] holds what they keep of each client and [`client_end`] lets
//! them change it; [`vectors`] sums what they upload besides the update; [`aggregate`] weighs and reduces, with [`attack`]
//! and mixes ([`decide`]) before it where updates are kept ([`kept`]); [`post`] transforms the aggregate; [`server_step`]
//! makes the new weights.
//! [`ledger`] keeps account of the noise's privacy.
//! What it never does: train, or know on which thread anything ran.

pub mod aggregate;
pub mod attack;
pub mod client_end;
pub mod client_slots;
pub mod combine;
pub mod decide;
pub mod facts;
pub mod gram;
pub mod grid;
pub mod hostile;
pub mod kept;
pub mod ledger;
pub mod local;
pub mod post;
pub mod rehearsal;
pub mod requirements;
pub mod row_set;
pub mod rows;
pub mod select;
pub mod server_step;
pub mod shard;
pub mod vectors;

mod room;
mod roster;
mod spill;
mod staged;
mod weigh;

pub use roster::{Member, Roster};
