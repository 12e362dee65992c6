//! The local plan: what a client's training is besides its loss and its optimizer.
//!
//! Where in the flow: the reply of CLIENT_BEGIN. The host fuses the terms into its optimizer step, so the sandbox is
//! never inside the training loop; a term that the host's trainer lacks is refused before the run.

use crate::{Map, Value};

/// One correction of local training. `w` are the client's weights, `w₀` the weights it received, `g` the gradient.
/// Slots are named as in the manifest's `state`: the client's own, and server slots that are broadcast.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// `+ (mu/2)·‖w − w₀‖²` in the objective, `g += mu·(w − w₀)`.
    Prox { mu: f64 },
    /// `+ (mu/2)·‖w − s‖²` with s the slot's values, `g += mu·(w − s)`.
    ProxToward { slot: &'static str, mu: f64 },
    /// `+ scale·⟨s, w⟩`, `g += scale·s`; the scale may be negative.
    Linear { slot: &'static str, scale: f64 },
    /// `+ (lambda/2)·‖w‖²` in the objective, `g += lambda·w`.
    L2 { lambda: f64 },
    /// `g` of each step scaled to a Euclidean norm of at most `max_norm`, over all tensors.
    ClipGrad { max_norm: f64 },
    /// The configured learning rate times `factor`.
    LearningRateScale { factor: f64 },
    /// Normalisation layers, running statistics included, that stay the client's own: its values in a client slot of
    /// shape `norm` stand in the place of those of `w₀` when training starts, what they become is kept there, and
    /// nothing of them is uploaded. Of the uploaded phase alone.
    Personal { slot: &'static str },
    /// Rows of class y are taken for rows of class `labels[y]`, in all that the client trains and measures itself in the
    /// round. As many as there are classes, each below their number. Of attacks alone, once.
    Relabel { labels: Vec<u64> },
}

impl Term {
    /// `Relabel` with `taken_for(y)` for each of the classes y = 0, 1, …
    pub fn relabel(num_classes: u64, taken_for: impl Fn(u64) -> u64) -> Self {
        Term::Relabel { labels: (0..num_classes).map(taken_for).collect() }
    }

    fn encode(&self) -> Map {
        let named = |term: &str| Map::new().with("term", term);
        match self {
            Term::Prox { mu } => named("prox").with("mu", *mu),
            Term::ProxToward { slot, mu } => named("prox").with("mu", *mu).with("toward", *slot),
            Term::Linear { slot, scale } => named("linear").with("scale", *scale).with("slot", *slot),
            Term::L2 { lambda } => named("l2").with("lambda", *lambda),
            Term::ClipGrad { max_norm } => named("clip-grad").with("max_norm", *max_norm),
            Term::LearningRateScale { factor } => named("learning-rate-scale").with("factor", *factor),
            Term::Personal { slot } => named("personal").with("slot", *slot),
            Term::Relabel { labels } => {
                let labels: Vec<Value> = labels.iter().map(|&label| Value::I64(label as i64)).collect();
                named("relabel").with("labels", labels)
            }
        }
    }
}

/// A stretch of local training. The default one goes from the received weights through the configured epochs to the
/// upload, without terms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phase {
    pub terms: Vec<Term>,
    /// The client slot that a personal phase starts from and ends in; `None` for the phase that is uploaded.
    pub slot: Option<&'static str>,
    /// Epochs instead of the configured ones; at least 1. Not together with `steps`.
    pub epochs: Option<u64>,
    /// Steps instead of epochs, at least 1.
    pub steps: Option<u64>,
}

impl Phase {
    /// Training that is uploaded.
    pub fn upload(terms: impl IntoIterator<Item = Term>) -> Self {
        Phase { terms: terms.into_iter().collect(), ..Phase::default() }
    }

    /// Training of a model that stays with the client, kept in one of its slots.
    pub fn personal(slot: &'static str, terms: impl IntoIterator<Item = Term>) -> Self {
        Phase { slot: Some(slot), ..Phase::upload(terms) }
    }

    fn encode(&self) -> Map {
        let terms: Vec<Value> = self.terms.iter().map(|term| term.encode().into()).collect();
        let slot = self.slot.map(|slot| ("slot", Value::from(slot)));
        let count = |name, count: Option<u64>| count.map(|count| (name, Value::I64(count as i64)));
        [slot, count("epochs", self.epochs), count("steps", self.steps)]
            .into_iter()
            .flatten()
            .fold(Map::new().with("terms", terms), |phase, (name, value)| phase.with(name, value))
    }
}

/// At most one phase is uploaded (without one, the client trains plainly); personal phases run after it, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub phases: Vec<Phase>,
}

impl Plan {
    /// The usual plan: one phase with these terms.
    pub fn with_terms(terms: impl IntoIterator<Item = Term>) -> Self {
        Plan { phases: vec![Phase::upload(terms)] }
    }

    /// `{phases: [{terms: [{term, ..}, ..], slot, epochs, steps}, ..]}`; what is not set is left out.
    pub fn encode(&self) -> Map {
        Map::new().with("phases", self.phases.iter().map(|phase| Value::Map(phase.encode())).collect::<Vec<Value>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_term_travels_under_its_name_with_its_number_and_its_slot() {
        let plan = Plan::with_terms([
            Term::Prox { mu: 1.0 },
            Term::L2 { lambda: 2.0 },
            Term::ClipGrad { max_norm: 3.0 },
            Term::LearningRateScale { factor: 4.0 },
            Term::ProxToward { slot: "own", mu: 5.0 },
            Term::Linear { slot: "c", scale: -1.0 },
            Term::Personal { slot: "norms" },
            Term::relabel(3, |label| 2 - label),
        ]);
        let message = plan.encode();
        let [Value::Map(phase)] = message.list("phases").unwrap() else { panic!("one phase") };
        let number = |name: &str, field: &str, value: f64| Map::new().with("term", name).with(field, value);
        let terms = [
            number("prox", "mu", 1.0),
            number("l2", "lambda", 2.0),
            number("clip-grad", "max_norm", 3.0),
            number("learning-rate-scale", "factor", 4.0),
            number("prox", "mu", 5.0).with("toward", "own"),
            number("linear", "scale", -1.0).with("slot", "c"),
            Map::new().with("term", "personal").with("slot", "norms"),
            Map::new().with("term", "relabel").with("labels", [2i64, 1, 0].map(Value::I64).to_vec()),
        ];
        assert_eq!(phase.list("terms").unwrap(), terms.map(Value::Map));
    }

    #[test]
    fn a_phase_says_only_what_departs_from_the_usual() {
        assert_eq!(Phase::upload([]).encode(), Map::new().with("terms", Vec::<Value>::new()));
        let personal = Phase { epochs: Some(2), ..Phase::personal("own", []) };
        let expected = Map::new().with("terms", Vec::<Value>::new()).with("slot", "own").with("epochs", 2i64);
        assert_eq!(personal.encode(), expected);
    }
}
