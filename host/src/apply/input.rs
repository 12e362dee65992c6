//! Updates from a safetensors file.
//!
//! ```text
//! client/<i>/<name>          F32  weights of client i, where `global/<name>` is given; else its update
//! delta/<round>/<i>/<name>   F32  in place of these: its update in each of several rounds
//! global/<name>              F32  the weights that the clients received; zeros where they are missing
//! num_examples               I64  one per client
//! losses                     F64  one per client: training loss and loss of the received weights; zeros where missing
//! steps                      I64  one per client; 1 where missing
//! root/<name>                F32  the server's own client, in the form of the clients'
//! attackers                  I64  numbers of the hostile clients, for a plugin of the role attack
//! ```
//! The layout is the tensors in the order of their names. What this file never does: aggregate.

use crate::{
    error::{Fault, Kind},
    train::{Layout, TensorInfo, TensorRole},
};
use anyhow::{Context, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::BTreeSet;
use std::path::Path;

/// What a file holds. Vectors have `layout.len()` values.
#[derive(Debug)]
pub struct Updates {
    pub layout: Layout,
    /// The weights before the first round.
    pub start: Vec<f32>,
    /// For each round, the update of each client.
    pub rounds: Vec<Vec<Vec<f32>>>,
    /// Whether results are named by their round.
    pub several: bool,
    pub num_examples: Vec<usize>,
    pub steps: Vec<u64>,
    pub losses: Option<Vec<f64>>,
    /// Update of the server's own client.
    pub root: Option<Vec<f32>>,
    pub attackers: Option<BTreeSet<usize>>,
}

impl Updates {
    /// Reads and checks a file. Errors: `Kind::Data` naming the file and the tensor.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| fault(format!("{error}; check the path")));
        bytes.and_then(|bytes| Self::of_bytes(&bytes)).with_context(|| format!("updates `{}`", path.display()))
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| fault(format!("not a whole safetensors file ({error}); write it again")))?;
        let names: Vec<&str> = file.names();
        let source = Source { file: &file, several: names.iter().any(|name| name.starts_with("delta/")) };
        if source.several && names.iter().any(|name| name.starts_with("client/")) {
            return Err(fault("it has both `client/…` and `delta/…`; give one of them".into()));
        }
        let rounds = if source.several { numbers(&names, "delta/") } else { vec![0] };
        let groups: Vec<String> = match source.several {
            true => rounds.iter().map(|round| format!("delta/{round}")).collect(),
            false => vec!["client".into()],
        };
        let first = groups.first().map(String::as_str).unwrap_or_default();
        let clients = numbers(&names, &format!("{first}/"));
        if clients.is_empty() || clients.iter().enumerate().any(|(i, &client)| i as u64 != client) {
            return Err(fault(format!("`{first}/…` has the clients {clients:?}; they must count from 0")));
        }
        let has_global = names.iter().any(|name| name.starts_with("global/"));
        let layout = source.layout(&names, if has_global { "global/".into() } else { format!("{first}/0/") })?;
        let start = if has_global { source.flat(&layout, "global")? } else { vec![0.0; layout.len()] };
        let update = |group: &str| -> Result<Vec<f32>> {
            let mut values = source.flat(&layout, group)?;
            if !source.several {
                values.iter_mut().zip(&start).for_each(|(local, received)| *local -= received);
            }
            Ok(values)
        };
        let of_round = |group: &String| clients.iter().map(|client| update(&format!("{group}/{client}"))).collect();
        let rounds = groups.iter().map(of_round).collect::<Result<Vec<_>>>()?;
        let root = names.iter().any(|name| name.starts_with("root/")).then(|| update("root")).transpose()?;
        Ok(Updates {
            num_examples: source.counts("num_examples", clients.len(), None)?.iter().map(|&n| n as usize).collect(),
            steps: source.counts("steps", clients.len(), Some(1))?,
            losses: source.losses(clients.len())?,
            attackers: source.attackers(clients.len())?,
            several: source.several,
            layout,
            start,
            rounds,
            root,
        })
    }
}

struct Source<'a> {
    file: &'a SafeTensors<'a>,
    several: bool,
}

impl Source<'_> {
    fn layout(&self, names: &[&str], prefix: String) -> Result<Layout> {
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
    fn flat(&self, layout: &Layout, group: &str) -> Result<Vec<f32>> {
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

    /// Whole numbers of at least 1, one per client.
    fn counts(&self, name: &str, clients: usize, default: Option<u64>) -> Result<Vec<u64>> {
        let Some(words) = self.optional(name, Dtype::I64, default.is_some())? else {
            return Ok(vec![default.unwrap_or(1); clients]);
        };
        one_each(name, words.len(), clients)?;
        let count = |word: [u8; 8]| match i64::from_le_bytes(word) {
            count if count >= 1 => Ok(count as u64),
            count => Err(fault(format!("`{name}` holds {count}; it must be at least 1"))),
        };
        words.into_iter().map(count).collect()
    }

    fn losses(&self, clients: usize) -> Result<Option<Vec<f64>>> {
        let Some(words) = self.optional("losses", Dtype::F64, true)? else { return Ok(None) };
        one_each("losses", words.len(), clients)?;
        Ok(Some(words.into_iter().map(f64::from_le_bytes).collect()))
    }

    fn attackers(&self, clients: usize) -> Result<Option<BTreeSet<usize>>> {
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

fn fault(message: String) -> anyhow::Error {
    Fault::new(Kind::Data, message)
}
