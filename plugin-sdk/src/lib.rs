//! The CollA plugin interface: the ABI in one place, a trait per role, and one macro that exports them.
//!
//! A plugin is a type, the traits of its roles, and a `manifest.json` beside `Cargo.toml`:
//!
//! ```
//! use colla_plugin_sdk::{Client, ClientBegin, Parameters, Plan, Plugin, Result, Term};
//!
//! struct FedProx {
//!     mu: f64,
//! }
//!
//! impl Plugin for FedProx {
//!     fn create(parameters: &Parameters) -> Result<Self> {
//!         Ok(FedProx { mu: parameters.f64("mu")? })
//!     }
//! }
//!
//! impl Client for FedProx {
//!     fn plan(&mut self, _: &ClientBegin) -> Result<Plan> {
//!         Ok(Plan::with_terms([Term::Prox { mu: self.mu }]))
//!     }
//! }
//! ```
//!
//! and last `colla_plugin!(FedProx: client);`, see [`colla_plugin`].
//!
//! The host uses [`abi`] and [`Map`] only. Nothing here is exported from a library that merely links this crate.

pub mod abi;
pub mod bits;
mod block;
mod codec;
mod cohort;
mod error;
pub mod export;
mod host;
#[doc(hidden)]
pub mod kinds;
pub mod layout;
pub mod log;
mod macros;
pub mod math;
mod parameters;
mod plan;
pub mod random;
pub mod robust;
pub mod roles;
mod scan;
pub mod sparse;
#[cfg(all(any(test, feature = "testing"), not(target_family = "wasm")))]
pub mod testing;
#[cfg(test)]
mod tests;
mod value;

pub use block::Block;
pub use codec::{Input, Output};
pub use cohort::{Cohort, Member, Trained};
pub use error::{Error, Result};
pub use parameters::Parameters;
pub use plan::{Phase, Plan, Term};
pub use roles::aggregate::{Aggregate, Sums};
pub use roles::attack::{Attack, AttackBegin, Attacked};
pub use roles::client::{Client, ClientBegin, ClientEnd};
pub use roles::compress::{Compress, Source, Target};
pub use roles::mix::{Decision, DecisionPlan, ExtraRow, Gram, Mix};
pub use roles::normalize::{Normalize, Piece, ScanFrame};
pub use roles::plugin::Plugin;
pub use roles::post::{Post, PostBegin};
pub use roles::select::{Clients, Known, Select};
pub use roles::server_step::{ServerStep, Step, StepBegin};
pub use scan::{KthAbs, Measures, ScanPlan};
pub use value::{Map, Value};
