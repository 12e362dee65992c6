//! Reading the plans that plugins answer.
//!
//! Where in the flow: behind CLIENT_BEGIN and ATTACK_BEGIN. What it never does: ignore what this host cannot do.

use super::{Length, LocalPlan, PersonalPhase, Phase, SlotRef};
use crate::{
    client::SlotId,
    config::{MAX_EPOCHS, MAX_STEPS},
    error::short,
    plugin::{Manifest, StateScope, StateShape, StateSlot},
    train::Term,
};
use colla_plugin_sdk::{Map, Value};
use std::sync::Arc;

/// Most phases of one plugin's plan.
const MAX_PHASES: usize = 16;

/// Whose plan it is: that of a client plugin, or that of an attack on clients whose data have so many classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Client,
    Attack { num_classes: usize },
}

/// Reads the plan of one plugin. What this host cannot do is refused, never ignored.
pub fn parse(plan: &Map, manifest: &Manifest, position: u8, of: Of) -> Result<LocalPlan, String> {
    only(plan, "the plan", &["phases"])?;
    let reader = Reader { manifest, position, of };
    let phases = list(plan, "phases")?;
    if phases.len() > MAX_PHASES {
        return Err(format!("the plan has {} phases; at most {MAX_PHASES} are allowed", phases.len()));
    }
    let mut parsed = LocalPlan::default();
    let mut uploads = 0;
    for (index, phase) in phases.iter().enumerate() {
        let Value::Map(map) = phase else {
            return Err(format!("a phase is {phase:?}; it must be a map"));
        };
        only(map, "a phase", &["terms", "slot", "epochs", "steps"])?;
        let Terms { terms, own_tensors, relabel } = reader.terms(list(map, "terms")?)?;
        let phase = Phase { terms, length: length(map)? };
        match map.get("slot") {
            None => {
                (parsed.upload, parsed.own_tensors, uploads) = (phase, own_tensors, uploads + 1);
                parsed.relabel = relabel;
            }
            Some(Value::Str(name)) if of != Of::Client => {
                return Err(format!("a phase has the slot `{name}`; the plan of an attack has no personal models"));
            }
            Some(Value::Str(name)) if own_tensors.is_some() => {
                return Err(format!(
                    "the term `personal` stands in the phase of the slot `{name}`, which is personal as a whole; it belongs to the uploaded phase"
                ));
            }
            Some(Value::Str(name)) => {
                let slot = reader.start(name)?;
                parsed.personal.push(PersonalPhase { slot, stream: stream(position, index), phase });
            }
            Some(other) => return Err(format!("`slot` of a phase is {other:?}; it must be a name")),
        }
    }
    match uploads {
        0 | 1 => Ok(parsed),
        _ => Err(format!("{uploads} phases of the plan have no `slot`; only one can be uploaded")),
    }
}

/// Phase `index` of the plugin at `position`; 0 is the uploaded phase, whoever planned it.
fn stream(position: u8, index: usize) -> u32 {
    1 + u32::from(position) * MAX_PHASES as u32 + index as u32
}

/// Names of slots as one plugin's plan may use them.
struct Reader<'a> {
    manifest: &'a Manifest,
    position: u8,
    of: Of,
}

/// The terms of a phase, with those that are no corrections of the gradient apart.
#[derive(Default)]
struct Terms {
    terms: Vec<Term<SlotRef>>,
    /// The slot of the term `personal`.
    own_tensors: Option<SlotId>,
    /// Of the term `relabel`.
    relabel: Option<Arc<[u32]>>,
}

impl Reader<'_> {
    fn own(&self, name: &str) -> Option<SlotId> {
        self.of_shape(name, StateShape::Model)
    }

    fn of_shape(&self, name: &str, shape: StateShape) -> Option<SlotId> {
        let fits = |s: &StateSlot| s.name == name && s.scope == StateScope::Client && s.shape == shape;
        let slot = self.manifest.state.iter().position(fits)?;
        Some(SlotId { plugin: self.position, slot: slot as u8 })
    }

    /// A slot whose values a term reads.
    fn slot(&self, name: &str) -> Result<SlotRef, String> {
        if let Some(id) = self.own(name) {
            return Ok(SlotRef::Client(id));
        }
        let mut broadcast = self.manifest.state.iter().filter(|s| s.broadcast);
        match broadcast.position(|s| s.name == name) {
            Some(index) => Ok(SlotRef::Broadcast(index)),
            None => Err(format!("a term reads the slot `{name}`; {}", self.known())),
        }
    }

    /// A slot that a personal phase starts from and ends in.
    fn start(&self, name: &str) -> Result<SlotId, String> {
        self.own(name).ok_or_else(|| {
            let what = match self.manifest.state.iter().find(|s| s.name == name) {
                Some(slot) if slot.scope == StateScope::Server => "which is the server's",
                _ => "which the manifest does not declare for clients",
            };
            format!("a phase starts from the slot `{name}`, {what}; use a slot of scope client and shape model")
        })
    }

    fn known(&self) -> String {
        let usable = |s: &&StateSlot| s.broadcast || self.own(&s.name).is_some();
        let names: Vec<String> = self.manifest.state.iter().filter(usable).map(|s| format!("`{}`", s.name)).collect();
        match names[..] {
            [] => "the manifest has no slot of clients and none that is broadcast".into(),
            _ => format!("a plan of this plugin may name {}", names.join(", ")),
        }
    }

    fn terms(&self, values: &[Value]) -> Result<Terms, String> {
        let mut read = Terms::default();
        let twice = |name: &str| Err(format!("a phase has the term `{name}` twice; it can have it once"));
        for value in values {
            match value {
                Value::Map(map) if map.str("term") == Some("personal") => {
                    if read.own_tensors.replace(self.own_tensors(map)?).is_some() {
                        return twice("personal");
                    }
                }
                Value::Map(map) if map.str("term") == Some("relabel") => {
                    if read.relabel.replace(self.relabel(map)?).is_some() {
                        return twice("relabel");
                    }
                }
                _ => read.terms.push(self.term(value)?),
            }
        }
        Ok(read)
    }

    /// What a term `relabel` takes each class for.
    fn relabel(&self, term: &Map) -> Result<Arc<[u32]>, String> {
        only(term, "the term `relabel`", &["term", "labels"])?;
        let Of::Attack { num_classes } = self.of else {
            return Err(
                "the term `relabel` stands in the plan of a client plugin; only an attack mislabels rows".into()
            );
        };
        let labels = list(term, "labels")?;
        if labels.len() != num_classes {
            let given = labels.len();
            return Err(format!("`labels` of the term `relabel` names {given} classes; the data have {num_classes}"));
        }
        let label = |value: &Value| match value {
            Value::I64(label) if (0..num_classes as i64).contains(label) => Ok(*label as u32),
            Value::I64(label) => {
                let last = num_classes - 1;
                Err(format!("a label of the term `relabel` is {label}; it must be from 0 to {last}"))
            }
            other => Err(format!("a label of the term `relabel` is {other:?}; it must be a whole number")),
        };
        labels.iter().map(label).collect()
    }

    /// The slot of a term `personal`.
    fn own_tensors(&self, term: &Map) -> Result<SlotId, String> {
        only(term, "the term `personal`", &["term", "slot"])?;
        let name = term.str("slot").ok_or("a term lacks the name `slot`")?;
        self.of_shape(name, StateShape::Norm).ok_or_else(|| {
            format!(
                "the term `personal` keeps tensors in the slot `{name}`, which the manifest does not declare; use a slot of scope client and shape norm"
            )
        })
    }

    fn term(&self, value: &Value) -> Result<Term<SlotRef>, String> {
        let Value::Map(map) = value else {
            return Err(format!("a term is {value:?}; it must be a map"));
        };
        let name = map.str("term").ok_or("a term has no name under `term`")?;
        let fields = |allowed: &[&str]| only(map, &format!("the term `{name}`"), &[&["term"], allowed].concat());
        match name {
            "prox" => {
                fields(&["mu", "toward"])?;
                let mu = at_least_zero(map, "mu")?;
                match map.get("toward") {
                    None => Ok(Term::Prox { mu }),
                    Some(Value::Str(slot)) => Ok(Term::ProxToward { mu, toward: self.slot(slot)? }),
                    Some(other) => Err(format!("`toward` of a term is {other:?}; it must be a name")),
                }
            }
            "linear" => {
                fields(&["slot", "scale"])?;
                let slot = map.str("slot").ok_or("a term lacks the name `slot`")?;
                Ok(Term::Linear { scale: number(map, "scale")?, slot: self.slot(slot)? })
            }
            "l2" => fields(&["lambda"]).and_then(|()| Ok(Term::L2 { lambda: at_least_zero(map, "lambda")? })),
            "clip-grad" => {
                fields(&["max_norm"]).and_then(|()| Ok(Term::ClipGrad { max_norm: positive(map, "max_norm")? }))
            }
            "learning-rate-scale" => {
                fields(&["factor"]).and_then(|()| Ok(Term::LearningRateScale { factor: positive(map, "factor")? }))
            }
            other => Err(format!("the term `{other}` is not one that this host trains with")),
        }
    }
}

/// Refuses fields that this host does not know.
fn only(map: &Map, what: &str, known: &[&str]) -> Result<(), String> {
    match map.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        Some((key, _)) => Err(format!("{what} asks for `{key}`, which this host does not do")),
        None => Ok(()),
    }
}

/// A list; empty where it is not given.
fn list<'a>(map: &'a Map, name: &str) -> Result<&'a [Value], String> {
    match map.get(name) {
        None => Ok(&[]),
        Some(Value::List(values)) => Ok(values),
        Some(other) => Err(format!("`{name}` is {other:?}; it must be a list")),
    }
}

fn length(phase: &Map) -> Result<Option<Length>, String> {
    let count = |name: &str, most: usize| match phase.get(name) {
        None => Ok(None),
        Some(Value::I64(count)) if (1..=most as i64).contains(count) => Ok(Some(*count as u64)),
        Some(Value::I64(count)) => Err(format!("`{name}` of a phase is {count}; it must be from 1 to {most}")),
        Some(other) => Err(format!("`{name}` of a phase is {other:?}; it must be a whole number")),
    };
    match (count("epochs", MAX_EPOCHS)?, count("steps", MAX_STEPS)?) {
        (Some(epochs), Some(steps)) => {
            Err(format!("a phase asks for `epochs` = {epochs} and `steps` = {steps}; it can be told one of them"))
        }
        (Some(epochs), None) => Ok(Some(Length::Epochs(epochs))),
        (None, steps) => Ok(steps.map(Length::Steps)),
    }
}

fn number(term: &Map, name: &str) -> Result<f32, String> {
    match term.f64(name) {
        Some(value) if (value as f32).is_finite() => Ok(value as f32),
        Some(value) => Err(format!("`{name}` of a term is {}; it must be finite in single precision", short(value))),
        None => Err(format!("a term lacks the number `{name}`")),
    }
}

fn at_least_zero(term: &Map, name: &str) -> Result<f32, String> {
    match number(term, name)? {
        value if value >= 0.0 => Ok(value),
        value => Err(format!("`{name}` of a term is {value}; it must be at least 0")),
    }
}

fn positive(term: &Map, name: &str) -> Result<f32, String> {
    match number(term, name)? {
        value if value > 0.0 => Ok(value),
        value => Err(format!("`{name}` of a term is {value}; it must be positive")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{"abi":"1.0","name":"own","version":"0.1.0","kinds":["client","server-step"],"summary":"s",
        "state":[{"name":"kept","scope":"server"},{"name":"told","scope":"server","broadcast":true},
                 {"name":"also-told","scope":"server","broadcast":true},{"name":"mine","scope":"client"},
                 {"name":"norms","scope":"client","shape":"norm"}],"requires":["normalisation-layers"]}"#;
    const MINE: SlotId = SlotId { plugin: 3, slot: 3 };
    const NORMS: SlotId = SlotId { plugin: 3, slot: 4 };

    fn read(plan: &Map) -> Result<LocalPlan, String> {
        parse(plan, &Manifest::parse(MANIFEST).unwrap(), 3, Of::Client)
    }

    fn phase(terms: Vec<Map>) -> Map {
        Map::new().with("terms", terms.into_iter().map(Value::Map).collect::<Vec<_>>())
    }

    fn phases(phases: Vec<Map>) -> Map {
        Map::new().with("phases", phases.into_iter().map(Value::Map).collect::<Vec<_>>())
    }

    fn term(name: &str) -> Map {
        Map::new().with("term", name)
    }

    /// The plan with this one phase is refused with these words.
    #[track_caller]
    fn refused(phase: Map, words: &str) {
        let message = read(&phases(vec![phase])).unwrap_err();
        assert!(message.contains(words), "{message}\nlacks: {words}");
    }

    #[test]
    fn an_empty_plan_and_one_without_phases_are_plain_training() {
        assert_eq!(read(&Map::new()).unwrap(), LocalPlan::default());
        assert_eq!(read(&phases(vec![])).unwrap(), LocalPlan::default());
        assert_eq!(read(&phases(vec![Map::new()])).unwrap(), LocalPlan::default());
    }

    #[test]
    fn terms_are_read_with_their_slots() {
        let terms = vec![
            term("prox").with("mu", 0.25),
            term("prox").with("mu", 0.5).with("toward", "also-told"),
            term("linear").with("slot", "mine").with("scale", -1.0),
        ];
        let expected = [
            Term::Prox { mu: 0.25 },
            Term::ProxToward { mu: 0.5, toward: SlotRef::Broadcast(1) },
            Term::Linear { scale: -1.0, slot: SlotRef::Client(MINE) },
        ];
        assert_eq!(read(&phases(vec![phase(terms)])).unwrap().upload.terms, expected);
    }

    #[test]
    fn a_personal_phase_has_its_slot_its_length_and_a_stream_of_its_own() {
        let upload = Map::new().with("steps", 7i64);
        let personal = |name: &str, count: i64| Map::new().with("slot", "mine").with(name, count);
        let plan = read(&phases(vec![personal("epochs", 2), upload, personal("steps", 3)])).unwrap();
        assert_eq!(plan.upload.length, Some(Length::Steps(7)));
        let lengths: Vec<_> = plan.personal.iter().map(|p| (p.slot, p.stream, p.phase.length)).collect();
        // Plugin 3, phases 0 and 2: 1 + 3·16 + 0, 1 + 3·16 + 2.
        assert_eq!(lengths, [(MINE, 49, Some(Length::Epochs(2))), (MINE, 51, Some(Length::Steps(3)))]);
    }

    #[test]
    fn slots_that_a_plan_may_not_name_are_refused_by_name() {
        refused(
            Map::new().with("slot", "absent"),
            "starts from the slot `absent`, which the manifest does not declare",
        );
        refused(Map::new().with("slot", "told"), "starts from the slot `told`, which is the server's");
        refused(Map::new().with("slot", 1i64), "`slot` of a phase is I64(1)");
        let missing = term("linear").with("slot", "kept").with("scale", 1.0);
        refused(
            phase(vec![missing]),
            "reads the slot `kept`; a plan of this plugin may name `told`, `also-told`, `mine`",
        );
        refused(phase(vec![term("linear").with("scale", 1.0)]), "lacks the name `slot`");
    }

    #[test]
    fn tensors_that_stay_the_clients_own_have_a_slot_beside_the_terms() {
        let own = || term("personal").with("slot", "norms");
        let plan = read(&phases(vec![phase(vec![own(), term("prox").with("mu", 0.25)])])).unwrap();
        assert_eq!((plan.own_tensors, plan.upload.terms), (Some(NORMS), vec![Term::Prox { mu: 0.25 }]));
        assert_eq!(read(&phases(vec![phase(vec![])])).unwrap().own_tensors, None);
        refused(phase(vec![own(), own()]), "has the term `personal` twice");
        refused(phase(vec![own()]).with("slot", "mine"), "stands in the phase of the slot `mine`");
        refused(phase(vec![own().with("role", "bias")]), "the term `personal` asks for `role`");
        refused(phase(vec![term("personal")]), "lacks the name `slot`");
        for slot in ["absent", "mine", "told"] {
            let message = format!("keeps tensors in the slot `{slot}`, which the manifest does not declare");
            refused(phase(vec![term("personal").with("slot", slot)]), &message);
        }
        refused(phase(vec![term("prox").with("mu", 1.0).with("toward", "norms")]), "reads the slot `norms`");
        refused(Map::new().with("slot", "norms"), "starts from the slot `norms`");
    }

    #[test]
    fn an_attack_takes_each_class_for_one_that_there_is_and_says_so_once() {
        let labels = |labels: &[i64]| labels.iter().map(|&label| Value::I64(label)).collect::<Vec<_>>();
        let relabel = |values: Vec<Value>| term("relabel").with("labels", values);
        let manifest = Manifest::parse(MANIFEST).unwrap();
        let read = |phase: Map| parse(&phases(vec![phase]), &manifest, 3, Of::Attack { num_classes: 3 });
        let plan = read(phase(vec![relabel(labels(&[2, 1, 0])), term("prox").with("mu", 0.25)])).unwrap();
        assert_eq!(plan.relabel.as_deref(), Some(&[2, 1, 0][..]));
        assert_eq!(plan.upload.terms, [Term::Prox { mu: 0.25 }]);
        assert_eq!(read(phase(vec![])).unwrap().relabel, None);
        let refusal = |phase: Map| read(phase).unwrap_err();
        for (term, words) in [
            (relabel(labels(&[0, 1])), "names 2 classes; the data have 3"),
            (relabel(labels(&[0, 1, 3])), "is 3; it must be from 0 to 2"),
            (relabel(labels(&[-1, 1, 2])), "is -1; it must be from 0 to 2"),
            (relabel(vec![1.0.into(), 1.0.into(), 1.0.into()]), "is F64(1.0); it must be a whole number"),
            (term("relabel"), "names 0 classes"),
            (relabel(labels(&[2, 1, 0])).with("share", 0.5), "the term `relabel` asks for `share`"),
        ] {
            let message = refusal(phase(vec![term]));
            assert!(message.contains(words), "{message}\nlacks: {words}");
        }
        let flip = || relabel(labels(&[2, 1, 0]));
        assert!(refusal(phase(vec![flip(), flip()])).contains("has the term `relabel` twice"));
        assert!(refusal(phase(vec![flip()]).with("slot", "mine")).contains("has no personal models"));
        refused(phase(vec![flip()]), "stands in the plan of a client plugin");
    }

    #[test]
    fn lengths_that_no_run_can_have_are_refused_with_their_range() {
        for count in [0i64, -3, 1_000_001] {
            refused(Map::new().with("epochs", count), &format!("`epochs` of a phase is {count}; it must be from 1 to"));
        }
        refused(Map::new().with("steps", i64::MAX), "`steps` of a phase is 9223372036854775807");
        refused(Map::new().with("steps", 2.0), "`steps` of a phase is F64(2.0)");
        refused(Map::new().with("steps", 2i64).with("epochs", 1i64), "`epochs` = 1 and `steps` = 2");
    }

    #[test]
    fn what_this_host_cannot_do_is_refused_by_name() {
        refused(phase(vec![term("contrastive")]), "`contrastive`");
        refused(phase(vec![term("prox").with("mu", f64::INFINITY)]), "`mu` of a term is inf");
        refused(phase(vec![term("prox").with("mu", 1e39)]), "`mu` of a term is 1e39; it must be finite");
        refused(phase(vec![term("prox").with("mu", -1.0)]), "`mu` of a term is -1; it must be at least 0");
        refused(phase(vec![term("learning-rate-scale").with("factor", 0.0)]), "`factor` of a term is 0");
        let nan = term("linear").with("slot", "mine").with("scale", f64::NAN);
        refused(phase(vec![nan]), "`scale` of a term is NaN");
        let newer = term("prox").with("mu", 0.1).with("layers", "all");
        refused(phase(vec![newer]), "the term `prox` asks for `layers`");
        refused(Map::new().with("freeze", "bias"), "a phase asks for `freeze`");
        refused(Map::new().with("terms", 1i64), "`terms` is I64(1); it must be a list");
        let plan = Map::new().with("phases", 1i64);
        assert!(read(&plan).unwrap_err().contains("`phases` is I64(1)"));
        assert!(read(&Map::new().with("seed", 1i64)).unwrap_err().contains("the plan asks for `seed`"));
        assert!(
            read(&phases(vec![Map::new(), Map::new()])).unwrap_err().contains("2 phases of the plan have no `slot`")
        );
        assert!(read(&phases(vec![Map::new(); 17])).unwrap_err().contains("17 phases"));
    }
}
