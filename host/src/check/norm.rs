//! What a stage promises of the Euclidean norm of an update (`norm` in the manifest), on which noise that is scaled to
//! a bound rests.
//!
//! Where in the flow: a law like those of `laws.rs`, for the roles normalize and compress; a run holds stages to the same
//! promise, with the same allowance for rounding.
//! What it never does: prove it. A stage that breaks the promise for other updates is found in the run.

use super::{
    Subject, inputs,
    laws::{Broken, Held, LEN, LONG},
};
use crate::{
    plugin::{NormEffect, Role},
    record::count,
    stages::{exceeds, norm2},
};
use colla_plugin_sdk::abi::FRAME;

/// What goes in is never shorter than what comes out (`keeps`), or that is never longer than the bound (`bounds`).
pub fn norm(subject: &Subject, role: Role) -> Held {
    let bounds = subject.plugin.manifest().norm == NormEffect::Bounds;
    let mut told = String::new();
    for len in [LEN, LONG] {
        let input = inputs::ordinary(len, subject.rows.count);
        let bound = match bounds {
            true => {
                let mut bench = subject.bench(len)?;
                bench.begin(&input)?;
                Some(stated(bench.norm_bound())?)
            }
            false => None,
        };
        for (name, update) in updates(len, bound) {
            let mut bench = subject.bench(len)?;
            bench.begin(&input)?;
            let after = match role {
                Role::Compress => {
                    let pieces = bench.encode(&update)?;
                    bench.decode(&pieces)?
                }
                _ => bench.apply(&update, FRAME)?.0,
            };
            let (before, after) = (norm2(&update), norm2(&after));
            if exceeds(after, bound.unwrap_or(before), len) {
                let promise = match bound {
                    Some(bound) => format!("`norm` is \"bounds\", and the bound is {bound}"),
                    None => "`norm` is \"keeps\"".into(),
                };
                let len = count(len as u64);
                return Err(Broken(format!("{len} {name}: the norm goes from {before} to {after}, but {promise}")));
            }
        }
        told = bound.map_or("never longer afterwards".into(), |bound| format!("at most {bound} afterwards"));
    }
    Ok(told)
}

/// A bound that can be one.
fn stated(bound: Option<f64>) -> Result<f64, Broken> {
    match bound {
        Some(bound) if bound >= 0.0 && bound.is_finite() => Ok(bound),
        Some(bound) => Err(Broken(format!("the bound is {bound}; it must be finite and at least 0"))),
        None => Err(Broken(
            "`norm` is \"bounds\", but the manifest names no parameter `norm_bound` and ROUND_BEGIN broadcasts no such number"
                .into(),
        )),
    }
}

/// Updates of every length that matters: usual ones, none, tiny and large ones, one that has a single huge element, and
/// those that are barely longer or shorter than the bound.
fn updates(len: usize, bound: Option<f64>) -> Vec<(&'static str, Vec<f32>)> {
    let mut updates: Vec<(&str, Vec<f32>)> =
        inputs::all(len, 1).into_iter().map(|mut input| (input.name, input.rows.swap_remove(0))).collect();
    let ordinary = updates[0].1.clone();
    let mut spike = ordinary.clone();
    spike[len / 2] = -1e15;
    updates.push(("ordinary values and one of -1e15", spike));
    if let Some(bound) = bound {
        let scaled = |part: f64| -> Vec<f32> {
            let factor = bound * part / norm2(&ordinary);
            ordinary.iter().map(|&x| (f64::from(x) * factor) as f32).collect()
        };
        updates.push(("values with a norm barely above the bound", scaled(1.0 + 1e-6)));
        updates.push(("values with a norm barely below the bound", scaled(1.0 - 1e-6)));
    }
    // What cannot be an update in single precision says nothing.
    updates.retain(|(_, update)| update.iter().all(|x| x.is_finite()));
    updates
}
