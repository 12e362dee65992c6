//! What every plugin promises, one function each. A law that is broken says where and with which values.
//!
//! Where in the flow: `mod.rs` asks them in order; a [`Broken`] one becomes a FAIL line.
//! What it never does: stop at a trap. A plugin's failure is the answer to the law that met it.

use super::{
    Subject,
    bench::{Bench, Planes},
    inputs::{self, Input},
};
use crate::plugin::{AttackedPart, Parameter, ParameterType, Plugin, Role, load};
use anyhow::{Error, Result};
use colla_plugin_sdk::abi::FRAME;

/// Why a law does not hold.
pub struct Broken(pub String);

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Broken(format!("{error:#}"))
    }
}

/// How a law holds, in a few words.
pub type Held = Result<String, Broken>;

/// Parameters of the model; whole blocks of 32 and a rest.
pub const LEN: usize = 4_099;
/// The same of a model with two whole frames and a short third one, for what works frame by frame.
pub const LONG: usize = 2 * FRAME + 3;

/// The defaults, every bound, every choice and both flags create an instance, and the host refuses what lies outside.
pub fn parameters(subject: &Subject) -> Held {
    let mut tried = 0;
    for parameter in &subject.plugin.manifest().parameters {
        let with = |value: &toml::Value| {
            let mut spec = subject.spec.clone();
            spec.parameters.insert(parameter.name.clone(), value.clone());
            load(&spec, &[])
        };
        for value in allowed(parameter) {
            tried += 1;
            with(&value)
                .map_err(|e| Broken(format!("`{} = {value}` is allowed but refused: {e:#}", parameter.name)))?;
        }
        for value in forbidden(parameter) {
            tried += 1;
            if with(&value).is_ok() {
                return Err(Broken(format!("`{} = {value}` is outside its range and accepted", parameter.name)));
            }
        }
    }
    Ok(format!("{tried} values at and beyond the bounds"))
}

fn allowed(parameter: &Parameter) -> Vec<toml::Value> {
    let default = parameter.default.as_f64().unwrap_or_default();
    let bound = |bound: Option<f64>, exclusive: bool, inwards: f64| match (parameter.kind, bound?) {
        (ParameterType::Int, bound) => Some(toml::Value::Integer(bound as i64 + i64::from(exclusive) * inwards as i64)),
        (_, bound) if exclusive => Some(toml::Value::Float(bound + (default - bound) * 1e-3)),
        (_, bound) => Some(toml::Value::Float(bound)),
    };
    match parameter.kind {
        ParameterType::Bool => vec![true.into(), false.into()],
        ParameterType::Choice => parameter.choices.iter().map(|word| word.as_str().into()).collect(),
        _ => {
            let ends = [
                bound(parameter.min, parameter.exclusive_min, 1.0),
                bound(parameter.max, parameter.exclusive_max, -1.0),
            ];
            ends.into_iter().flatten().collect()
        }
    }
}

fn forbidden(parameter: &Parameter) -> Vec<toml::Value> {
    let beyond = |bound: Option<f64>, exclusive: bool, outwards: f64| match (parameter.kind, bound?) {
        (ParameterType::Int, bound) => {
            Some(toml::Value::Integer(bound as i64 + i64::from(!exclusive) * outwards as i64))
        }
        (_, bound) if exclusive => Some(toml::Value::Float(bound)),
        (_, bound) => Some(toml::Value::Float(bound + outwards * (1.0 + bound.abs()))),
    };
    match parameter.kind {
        ParameterType::Bool | ParameterType::Choice => vec!["none-of-these".into()],
        _ => {
            [beyond(parameter.min, parameter.exclusive_min, -1.0), beyond(parameter.max, parameter.exclusive_max, 1.0)]
                .into_iter()
                .flatten()
                .collect()
        }
    }
}

/// Finite updates give finite answers: ordinary ones, zeros, tiny and large ones. (Rules over sums and compressors have
/// laws of their own for this.)
pub fn finite(subject: &Subject, role: Role) -> Held {
    let inputs = inputs::all(LEN, subject.rows.count);
    for input in &inputs {
        let answer = subject
            .bench(LEN)?
            .answer(role, input, LEN)
            .map_err(|error| Broken(format!("{}: {error:#}", input.name)))?;
        if let Some(at) = answer.iter().position(|x| !x.is_finite()) {
            return Err(Broken(format!("{} give {} at place {at}", input.name, show(answer[at]))));
        }
    }
    Ok(inputs.iter().map(|input| input.name).collect::<Vec<_>>().join(", "))
}

/// The same question gets the same bits: from another instance, and from the same one after other questions. An instance
/// keeps nothing between calls but its parameters.
pub fn repeatable(subject: &Subject, role: Role) -> Held {
    let mut inputs = inputs::all(LEN, subject.rows.count);
    let asked = inputs.remove(0);
    let mut instance = subject.bench(LEN)?;
    let first = instance.answer(role, &asked, LEN)?;
    let other = subject.bench(LEN)?.answer(role, &asked, LEN)?;
    same("another instance answers differently", &first, &other)?;
    for input in &inputs {
        instance.answer(role, input, LEN)?;
    }
    let again = instance.answer(role, &asked, LEN)?;
    same("asked again, the instance answers differently, so it remembers earlier calls", &first, &again)?;
    Ok("the same bits from two instances and from one asked twice".into())
}

/// The rounds in which [`sync`] is asked: a number kept from ROUND_BEGIN is not what an instance starts with in both.
const ROUNDS: [u64; 2] = [2, 7];

/// Data operations know what an instance of the data plane is told, LAYOUT and SYNC of what the control instance replied,
/// and nothing else: one instance that is asked everything gives the same bits. What ROUND_BEGIN, STEP_BEGIN or POST_BEGIN
/// told, or ENCODE and APPLY saw, and no reply or header carries, would be missing in a run.
pub fn sync(subject: &Subject, role: Role) -> Held {
    let input = inputs::ordinary(LEN, subject.rows.count);
    for round in ROUNDS {
        let ask = |planes| -> Result<Vec<f64>> {
            let mut bench = Bench::open(&subject.plugin, LEN, subject.rows.count, planes)?;
            bench.set_round(round);
            bench.answer(role, &input, LEN)
        };
        let what = format!(
            "in round {round} an instance that got LAYOUT and SYNC alone, as in a run, answers otherwise than one that got \
             everything; broadcast what it needs in the reply to ROUND_BEGIN and take it at SYNC"
        );
        same(&what, &ask(Planes::Together)?, &ask(Planes::Apart)?)?;
    }
    Ok("data operations know no more than SYNC told them".into())
}

/// Whether the role has operations of the data plane.
pub fn has_data_plane(subject: &Subject, role: Role) -> bool {
    match role {
        Role::Mix | Role::Select => false,
        Role::Aggregate => subject.reduces_rows(),
        Role::Client => subject.bench(LEN).is_ok_and(|bench| bench.ends()),
        Role::Attack => subject.plugin.manifest().attacks(AttackedPart::Updates),
        _ => true,
    }
}

/// Elementwise operations (REDUCE, STEP, CLIENT_END, ATTACK, and APPLY on ranges) give the same bits however the vector is cut.
pub fn cuts(subject: &Subject, role: Role) -> Held {
    let input = inputs::ordinary(LEN, subject.rows.count);
    let whole = subject.bench(LEN)?.answer(role, &input, LEN)?;
    for cut in [1_024, 1_000, 33] {
        let answer = subject.bench(LEN)?.answer(role, &input, cut)?;
        same(&format!("in ranges of {cut} instead of one of {LEN} the answer differs"), &whole, &answer)?;
    }
    Ok("the same bits in ranges of 33, 1,000, 1,024 and all".into())
}

/// Whether the role has operations that see ranges of the host's choice.
pub fn has_cuts(subject: &Subject, role: Role) -> bool {
    match role {
        Role::ServerStep => true,
        Role::Attack => has_data_plane(subject, role),
        Role::Aggregate => subject.reduces_rows(),
        Role::Client => subject.bench(LEN).is_ok_and(|bench| bench.ends()),
        Role::Normalize | Role::Post => {
            subject.bench(LEN).and_then(|mut bench| bench.applies_anywhere()).unwrap_or(false)
        }
        Role::Compress | Role::Mix | Role::Select => false,
    }
}

/// The order of the clients does not matter to a rule over rows or distances, up to rounding; rows that are mixed come
/// out in the order in which they went in. Asked where no two rows or sets of rows are equally good: ties may go by index.
pub fn order(subject: &Subject) -> Held {
    let Input { rows, .. } = inputs::spread(LEN, subject.rows.count);
    let mut bench = subject.bench(LEN)?;
    let mut bitwise = true;
    let count = subject.rows.count;
    let in_order: Vec<usize> = (0..count).collect();
    let expected = bench.combined(&rows, &in_order, LEN)?;
    // Backwards, turned by one, and with neighbours torn apart: the numbers of rows are odd, so 4 reaches every one.
    let orders: [&dyn Fn(usize) -> usize; 3] =
        [&|row| count - 1 - row, &|row| (row + 1) % count, &|row| (4 * row + 2) % count];
    for order in orders.map(|place| in_order.iter().map(|&row| place(row)).collect::<Vec<_>>()) {
        let permuted = bench.combined(&rows, &order, LEN)?;
        for (row, given) in permuted.iter().enumerate() {
            let expected = if permuted.len() == 1 { &expected[0] } else { &expected[order[row]] };
            for (i, (a, b)) in expected.iter().zip(given).enumerate() {
                bitwise &= a.to_bits() == b.to_bits();
                if (a - b).abs() > 1e-6 {
                    return Err(Broken(format!("rows in the order {order:?} give {b} at place {i} instead of {a}")));
                }
            }
        }
    }
    Ok(if bitwise { "the same bits in any order of the rows" } else { "within 1e-6 in any order of the rows" }.into())
}

/// Whether [`order`] can be asked: the rule sees rows or distances, one row comes out or as many as go in, and no draw
/// decides.
pub fn has_order(subject: &Subject, role: Role) -> bool {
    let rows_out = || subject.bench(LEN)?.rows_out();
    let fits = match role {
        Role::Mix => rows_out().is_ok_and(|rows| rows == 1 || rows == subject.rows.count),
        _ => !subject.reduces_sums(),
    };
    fits && !subject.plugin.manifest().rng
}

/// What SAVE gives is all that a round leaves behind: a new instance that loads it answers as the one that saved, and
/// would save the same.
pub fn resume(subject: &Subject) -> Held {
    let mut inputs = inputs::all(LEN, subject.rows.count);
    let (asked, roles) = (inputs.remove(0), &subject.plugin.manifest().kinds);
    let mut lived = subject.bench(LEN)?;
    for input in &inputs {
        roles.iter().try_for_each(|&role| lived.answer(role, input, LEN).map(drop))?;
        lived.end_round()?;
    }
    let saved = lived.save()?;
    let mut resumed = subject.bench(LEN)?;
    resumed.load(&saved)?;
    if resumed.save()? != saved {
        return Err(Broken("an instance that loaded what was saved saves something else".into()));
    }
    for &role in roles {
        let (expected, given) = (lived.answer(role, &asked, LEN)?, resumed.answer(role, &asked, LEN)?);
        same("after rounds, a new instance that loaded what was saved answers differently", &expected, &given)?;
    }
    Ok(match saved.0.len() {
        0 => "a round leaves nothing behind".into(),
        1 => "1 value brings a new instance to where it was".into(),
        count => format!("{count} values bring a new instance to where it was"),
    })
}

/// A rule over sums gives each client a finite weight of at least 0, and a denominator to divide by.
pub fn weights(subject: &Subject) -> Held {
    let answer = subject.bench(LEN)?.weigh()?;
    let count = subject.rows.count;
    let (weights, denominator) = answer.split_at(count);
    if let Some(at) = weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
        return Err(Broken(format!(
            "weight {at} of {count} is {}; it must be finite and at least 0",
            show(weights[at])
        )));
    }
    match denominator {
        [d] if d.is_finite() && *d != 0.0 => Ok(format!("{count} weights and a denominator")),
        other => Err(Broken(format!("the denominator is {other:?}; it must be finite and not 0"))),
    }
}

/// The manifest says that the plugin draws random numbers only if the module imports `rand_fill`. The other way round it
/// would not have loaded.
pub fn random(subject: &Subject) -> Held {
    match (subject.plugin.manifest().rng, subject.can_draw) {
        (true, Some(false)) => Err(Broken("the manifest says `rng`, but the module imports no `rand_fill`".into())),
        (true, _) => Ok("drawn from the run's seed, as the manifest says".into()),
        (false, _) => Ok("none, as the manifest says".into()),
    }
}

/// The native library of the same source gives the same bits.
pub fn forms(subject: &Subject, native: &Plugin, role: Role) -> Held {
    if native.manifest() != subject.plugin.manifest() {
        let (a, b) = (&subject.plugin.manifest().name, &native.manifest().name);
        return Err(Broken(format!(
            "the manifests of `{a}` (WASM) and `{b}` (native) differ; build both from one source"
        )));
    }
    for input in inputs::all(LEN, subject.rows.count) {
        let wasm = subject.bench(LEN)?.answer(role, &input, LEN)?;
        let other = Bench::open(native, LEN, subject.rows.count, Planes::Apart)?.answer(role, &input, LEN)?;
        same(&format!("{}: the native library answers differently", input.name), &wasm, &other)?;
    }
    Ok("the same bits as WASM and native".into())
}

/// Equality of bits, with the first difference.
pub fn same(what: &str, expected: &[f64], given: &[f64]) -> Result<(), Broken> {
    if expected.len() != given.len() {
        return Err(Broken(format!("{what}: {} numbers instead of {}", given.len(), expected.len())));
    }
    match expected.iter().zip(given).position(|(a, b)| a.to_bits() != b.to_bits()) {
        None => Ok(()),
        Some(at) => Err(Broken(format!("{what}: {} instead of {} at place {at}", show(given[at]), show(expected[at])))),
    }
}

fn show(x: f64) -> String {
    if x.is_nan() { "NaN".into() } else { x.to_string() }
}
