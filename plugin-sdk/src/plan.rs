//! The local plan: what a client's training is besides its loss and its optimizer.
//!
//! Where in the flow: the reply of CLIENT_BEGIN. The host fuses the terms into its optimizer step, so the sandbox is
//! never inside the training loop; a term that the host's trainer lacks is refused before the run.

use crate::{Map, Value};

/// One correction of local training. `w` are the client's weights, `w₀` the weights it received, `g` the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// `+ (mu/2)·‖w − w₀‖²` in the objective, `g += mu·(w − w₀)`.
    Prox { mu: f64 },
    /// `+ (lambda/2)·‖w‖²` in the objective, `g += lambda·w`.
    L2 { lambda: f64 },
    /// `g` of each step scaled to a Euclidean norm of at most `max_norm`, over all tensors.
    ClipGrad { max_norm: f64 },
    /// The configured learning rate times `factor`.
    LearningRateScale { factor: f64 },
}

impl Term {
    fn encode(self) -> Map {
        let (term, name, value) = match self {
            Term::Prox { mu } => ("prox", "mu", mu),
            Term::L2 { lambda } => ("l2", "lambda", lambda),
            Term::ClipGrad { max_norm } => ("clip-grad", "max_norm", max_norm),
            Term::LearningRateScale { factor } => ("learning-rate-scale", "factor", factor),
        };
        Map::new().with("term", term).with(name, value)
    }
}

/// A stretch of local training: the configured epochs, with these terms, from the received weights to the upload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Phase {
    pub terms: Vec<Term>,
}

/// Phases in the order in which the client runs them; ABI 1.0 hosts run exactly one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub phases: Vec<Phase>,
}

impl Plan {
    /// The usual plan: one phase with these terms.
    pub fn with_terms(terms: impl IntoIterator<Item = Term>) -> Self {
        Plan { phases: vec![Phase { terms: terms.into_iter().collect() }] }
    }

    /// `{phases: [{terms: [{term, ..}, ..]}, ..]}`.
    pub fn encode(&self) -> Map {
        let phase = |phase: &Phase| {
            let terms: Vec<Value> = phase.terms.iter().map(|term| term.encode().into()).collect();
            Value::Map(Map::new().with("terms", terms))
        };
        Map::new().with("phases", self.phases.iter().map(phase).collect::<Vec<Value>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_term_travels_under_its_name_with_its_number() {
        let plan = Plan::with_terms([
            Term::Prox { mu: 1.0 },
            Term::L2 { lambda: 2.0 },
            Term::ClipGrad { max_norm: 3.0 },
            Term::LearningRateScale { factor: 4.0 },
        ]);
        let message = plan.encode();
        let [Value::Map(phase)] = message.list("phases").unwrap() else { panic!("one phase") };
        let terms: Vec<(&str, &str, f64)> = phase
            .list("terms")
            .unwrap()
            .iter()
            .map(|term| {
                let Value::Map(Map(entries)) = term else { panic!("a term is a map") };
                let [(_, Value::Str(name)), (field, Value::F64(value))] = &entries[..] else { panic!("{entries:?}") };
                (name.as_str(), field.as_str(), *value)
            })
            .collect();
        assert_eq!(
            terms,
            [
                ("prox", "mu", 1.0),
                ("l2", "lambda", 2.0),
                ("clip-grad", "max_norm", 3.0),
                ("learning-rate-scale", "factor", 4.0)
            ]
        );
    }
}
