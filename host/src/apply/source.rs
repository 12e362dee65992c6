//! Typed tensors of an open safetensors file.
//!
//! Where in the flow: below [`super::input`], which says what a file must hold. What it never does: leave a tensor unread
//! without a word.

use super::input::fault;
use crate::train::{Layout, TensorInfo, TensorRole};
use anyhow::Result;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Numbers of examples travel as doubles, which are exact below this.
const EXACT: u64 = 1 << 53;

/// An open file, which knows what of it was asked for.
pub(super) struct Source<'a> {
    pub file: &'a SafeTensors<'a>,
    /// Whether it has rounds.
    pub several: bool,
    /// Names of the tensors that were asked for.
    pub read: RefCell<BTreeSet<String>>,
}

impl Source<'_> {
    /// Prefix of each round's clients, and how many clients there are; at least one of both.
    pub fn groups(&self, names: &[&str]) -> Result<(Vec<String>, usize)> {
        if self.several && names.iter().any(|name| name.starts_with("client/")) {
            return Err(fault("it has both `client/…` and `delta/…`; give one of them".into()));
        }
        let rounds = numbers(names, "delta/");
        let expected = rounds.first().filter(|&&first| first <= 1).map_or(0.., |&first| first..);
        if rounds.iter().zip(expected).any(|(&round, expected)| round != expected) {
            let message =
                format!("`delta/…` has the rounds {rounds:?}; they must count from 0 or from 1 without a gap");
            return Err(fault(message));
        }
        let groups: Vec<String> = match self.several {
            true => rounds.iter().map(|round| format!("delta/{round}")).collect(),
            false => vec!["client".into()],
        };
        let Some(first) = groups.first() else {
            return Err(fault("`delta/…` names no round; name its tensors `delta/<round>/<client>/<name>`".into()));
        };
        let clients = numbers(names, &format!("{first}/"));
        if clients.is_empty() || clients.iter().enumerate().any(|(i, &client)| i as u64 != client) {
            return Err(fault(format!("`{first}/…` has the clients {clients:?}; they must count from 0")));
        }
        for group in &groups {
            let others = numbers(names, &format!("{group}/"));
            if others != clients {
                let message = format!("`{group}/…` has the clients {others:?}, `{first}/…` has {clients:?}");
                return Err(fault(message + "; give every round the same ones"));
            }
        }
        Ok((groups, clients.len()))
    }

    /// Errors: `Kind::Data` naming a tensor that was never asked for.
    pub fn all_read(&self, names: &[&str]) -> Result<()> {
        let read = self.read.borrow();
        match names.iter().filter(|name| !read.contains(**name)).min() {
            None => Ok(()),
            Some(name) => Err(fault(format!(
                "tensor `{name}` is not read: it is no tensor of the layout, and none that `plugin apply` knows by name; \
                 check its spelling, or leave it out"
            ))),
        }
    }

    /// The tensors behind a prefix, in the order of their names.
    pub fn layout(&self, names: &[&str], prefix: String) -> Result<Layout> {
        let mut own: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(&prefix)).collect();
        own.sort_unstable();
        let mut layout = Layout::default();
        for name in own {
            let shape = self.floats(&format!("{prefix}{name}"))?.shape().to_vec();
            let role = if shape.len() < 2 { TensorRole::Bias } else { TensorRole::Weight };
            layout.tensors.push(TensorInfo { name: name.into(), shape, role, offset: layout.len() });
        }
        if layout.is_empty() {
            return Err(fault(format!("`{prefix}…` has no values; give at least one tensor")));
        }
        Ok(layout)
    }

    /// All tensors of a group, one after the other.
    pub fn flat(&self, layout: &Layout, group: &str) -> Result<Vec<f32>> {
        let mut flat = Vec::with_capacity(layout.len());
        for tensor in &layout.tensors {
            let name = format!("{group}/{}", tensor.name);
            let view = self.floats(&name)?;
            if view.shape() != tensor.shape {
                return Err(fault(format!(
                    "tensor `{name}` has shape {:?}, others of that name have {:?}",
                    view.shape(),
                    tensor.shape
                )));
            }
            flat.extend(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        }
        Ok(flat)
    }

    fn floats(&self, name: &str) -> Result<TensorView<'_>> {
        self.typed(name, Dtype::F32)
    }

    fn typed(&self, name: &str, dtype: Dtype) -> Result<TensorView<'_>> {
        self.read.borrow_mut().insert(name.into());
        match self.file.tensor(name) {
            Err(_) => Err(fault(format!("tensor `{name}` is missing"))),
            Ok(view) if view.dtype() == dtype => Ok(view),
            Ok(view) => Err(fault(format!("tensor `{name}` has type {:?}; it must be {dtype:?}", view.dtype()))),
        }
    }

    fn optional(&self, name: &str, dtype: Dtype, default: bool) -> Result<Option<Vec<[u8; 8]>>> {
        if default && self.file.tensor(name).is_err() {
            return Ok(None);
        }
        let view = self.typed(name, dtype)?;
        Ok(Some(view.data().chunks_exact(8).map(|b| [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]).collect()))
    }

    /// One per client; their sum is exact as a double.
    pub fn num_examples(&self, clients: usize) -> Result<Vec<usize>> {
        let counts = self.counts("num_examples", clients, 0, None)?;
        let sum = counts.iter().map(|&count| u128::from(count)).sum::<u128>();
        if sum >= u128::from(EXACT) {
            return Err(fault(format!("`num_examples` sums to {sum}; the sum must be below 2^53 = {EXACT}")));
        }
        Ok(counts.into_iter().map(|count| count as usize).collect())
    }

    /// Whole numbers of at least `least`, one per client.
    pub fn counts(&self, name: &str, clients: usize, least: u64, default: Option<u64>) -> Result<Vec<u64>> {
        let words = match (self.optional(name, Dtype::I64, default.is_some())?, default) {
            (Some(words), _) => words,
            (None, default) => return Ok(vec![default.unwrap_or(least); clients]),
        };
        one_each(name, words.len(), clients)?;
        let count = |(index, word)| {
            let given = i64::from_le_bytes(word);
            let wrong = || fault(format!("`{name}` is {given} at index {index}; it must be at least {least}"));
            u64::try_from(given).ok().filter(|&count| count >= least).ok_or_else(wrong)
        };
        words.into_iter().enumerate().map(count).collect()
    }

    /// Losses, finite and at least 0, one per client.
    pub fn losses(&self, clients: usize) -> Result<Option<Vec<f64>>> {
        let Some(words) = self.optional("losses", Dtype::F64, true)? else { return Ok(None) };
        one_each("losses", words.len(), clients)?;
        let loss = |(index, word)| match f64::from_le_bytes(word) {
            loss if loss.is_finite() && loss >= 0.0 => Ok(loss),
            loss => Err(fault(format!("`losses` is {loss} at index {index}; a loss must be finite and at least 0"))),
        };
        words.into_iter().enumerate().map(loss).collect::<Result<_>>().map(Some)
    }

    /// Numbers of the hostile clients.
    pub fn attackers(&self, clients: usize) -> Result<Option<BTreeSet<usize>>> {
        let Some(words) = self.optional("attackers", Dtype::I64, true)? else { return Ok(None) };
        let attacker = |word: [u8; 8]| match i64::from_le_bytes(word) {
            id if id >= 0 && (id as u64) < clients as u64 => Ok(id as usize),
            id => Err(fault(format!("`attackers` names client {id}; there are {clients}, counted from 0"))),
        };
        words.into_iter().map(attacker).collect::<Result<_>>().map(Some)
    }
}

fn one_each(name: &str, given: usize, clients: usize) -> Result<()> {
    match given == clients {
        true => Ok(()),
        false => Err(fault(format!("`{name}` has {given} values for {clients} clients; give one for each"))),
    }
}

/// The numbers that follow `prefix` in names, ascending.
fn numbers(names: &[&str], prefix: &str) -> Vec<u64> {
    let number = |name: &&str| name.strip_prefix(prefix)?.split('/').next()?.parse().ok();
    names.iter().filter_map(number).collect::<BTreeSet<u64>>().into_iter().collect()
}
