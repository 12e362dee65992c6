//! How updates become new weights, as the plugins of the run decide it.
//!
//! Where in the flow: after the wire, before evaluation. [`Roster`] says who plays which role; [`local`] asks the client
//! plugins for their terms; [`aggregate`] weighs and reduces; [`server_step`] makes the new weights.
//! What it never does: train, or know on which thread anything ran.

pub mod aggregate;
pub mod facts;
pub mod grid;
pub mod local;
pub mod rows;
pub mod server_step;

mod roster;

pub use roster::{Member, Roster};
