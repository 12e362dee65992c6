//! Role client: what the strategy adds to local training.
//!
//! Each client plugin answers CLIENT_BEGIN with a plan; its terms are fused into the optimizer step, so no plugin code
//! runs inside the training loop. Terms of several client plugins add up.

use super::Roster;
use crate::{client::ClientId, plugin::Role, stages::failure, train::Term};
use anyhow::Result;
use colla_plugin_sdk::{Map, Value, abi::op};

/// Asks every client plugin for its terms for one client.
pub fn terms(roster: &mut Roster, round: u64, client: ClientId, num_examples: usize) -> Result<Vec<Term>> {
    let mut terms = Vec::new();
    for member in roster.with_role(Role::Client) {
        let message = Map::new()
            .with("round", round as i64)
            .with("client", i64::from(client.0))
            .with("num_examples", num_examples as i64)
            .with("broadcast", member.broadcast.clone());
        member.control.set_callbacks(member.callbacks(round, Some(client)));
        let plan = member.control.call(op::CLIENT_BEGIN, &message)?;
        let parsed = parse(&plan).map_err(|message| failure(member.name(), op::CLIENT_BEGIN, message))?;
        terms.extend(parsed);
    }
    Ok(terms)
}

/// Reads a plan. What this host cannot do is refused, never ignored.
pub fn parse(plan: &Map) -> Result<Vec<Term>, String> {
    let phases = plan.list("phases").unwrap_or(&[]);
    let phase = match phases {
        [] => return Ok(Vec::new()),
        [Value::Map(phase)] => phase,
        [other] => return Err(format!("a phase is {other:?}; it must be a map")),
        more => return Err(format!("the plan has {} phases; this host trains in one", more.len())),
    };
    if let Some((key, _)) = phase.0.iter().find(|(key, _)| key != "terms") {
        return Err(format!("a phase asks for `{key}`, which this host does not do"));
    }
    phase.list("terms").unwrap_or(&[]).iter().map(term).collect()
}

fn term(value: &Value) -> Result<Term, String> {
    let Value::Map(map) = value else {
        return Err(format!("a term is {value:?}; it must be a map"));
    };
    let number = |name: &str| match map.f64(name) {
        Some(v) if (v as f32).is_finite() && v >= 0.0 => Ok(v as f32),
        Some(v) => Err(format!("`{name}` of a term is {v}; it must be finite in single precision and at least 0")),
        None => Err(format!("a term lacks the number `{name}`")),
    };
    let positive = |name: &str| match number(name)? {
        0.0 => Err(format!("`{name}` of a term is 0; it must be positive")),
        v => Ok(v),
    };
    match map.str("term") {
        Some("prox") => Ok(Term::Prox { mu: number("mu")? }),
        Some("l2") => Ok(Term::L2 { lambda: number("lambda")? }),
        Some("clip-grad") => Ok(Term::ClipGrad { max_norm: positive("max_norm")? }),
        Some("learning-rate-scale") => Ok(Term::LearningRateScale { factor: positive("factor")? }),
        Some(other) => Err(format!("the term `{other}` is not one that this host trains with")),
        None => Err("a term has no name under `term`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(terms: Vec<Value>) -> Map {
        Map::new().with("phases", vec![Value::Map(Map::new().with("terms", terms))])
    }

    #[test]
    fn a_plan_with_a_proximal_term_is_read() {
        let prox = Map::new().with("term", "prox").with("mu", 0.25);
        assert_eq!(parse(&plan(vec![prox.into()])).unwrap(), [Term::Prox { mu: 0.25 }]);
        assert_eq!(parse(&Map::new()).unwrap(), []);
    }

    #[test]
    fn what_this_host_cannot_do_is_refused_by_name() {
        let unknown = Map::new().with("term", "contrastive");
        assert!(parse(&plan(vec![unknown.into()])).unwrap_err().contains("`contrastive`"));
        let endless = Map::new().with("term", "prox").with("mu", f64::INFINITY);
        assert!(parse(&plan(vec![endless.into()])).unwrap_err().contains("`mu` of a term is inf"));
        let still = Map::new().with("term", "learning-rate-scale").with("factor", 0.0);
        assert!(parse(&plan(vec![still.into()])).unwrap_err().contains("`factor` of a term is 0"));
        let two = Map::new().with("phases", vec![Value::Map(Map::new()), Value::Map(Map::new())]);
        assert!(parse(&two).unwrap_err().contains("2 phases"));
        let start = Map::new().with("phases", vec![Value::Map(Map::new().with("start", "slot"))]);
        assert!(parse(&start).unwrap_err().contains("`start`"));
    }
}
