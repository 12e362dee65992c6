//! Updates from a safetensors file.
//!
//! ```text
//! client/<i>/<name>          F32  weights of client i, where `global/<name>` is given; else its update
//! delta/<round>/<i>/<name>   F32  in place of these: its update in each of several rounds, the same clients in each; rounds
//!                                 count from 0 or from 1
//! global/<name>              F32  the weights that the clients received; zeros where they are missing
//! num_examples               I64  one per client, at least 0
//! losses                     F64  one per client: training loss and loss of the received weights, at least 0
//! steps                      I64  one per client; 1 where missing, unless a plugin needs them
//! root/<name>                F32  the server's own client, in the form of the clients'
//! attackers                  I64  numbers of the hostile clients, for a plugin of the role attack
//! ```
//! The layout is the tensors in the order of their names. Every tensor of a file is read, or the file is refused.
//! What this file never does: aggregate.

use super::source::Source;
use crate::{
    error::{Fault, Kind},
    train::Layout,
};
use anyhow::{Context, Result};
use safetensors::SafeTensors;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

/// What a file holds. Vectors have `layout.len()` values.
#[derive(Debug)]
pub struct Updates {
    pub layout: Layout,
    /// The weights before the first round.
    pub start: Vec<f32>,
    /// The update of each client in each round, in the order of the rounds' numbers.
    pub rounds: Vec<Vec<Vec<f32>>>,
    /// Whether results are named by their round.
    pub several: bool,
    pub num_examples: Vec<usize>,
    pub steps: Vec<u64>,
    /// Whether the file says so, or 1 is assumed.
    pub has_steps: bool,
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
        let several = names.iter().any(|name| name.starts_with("delta/"));
        let source = Source { file: &file, several, read: RefCell::default() };
        let (groups, num_clients) = source.groups(&names)?;
        let has_global = names.iter().any(|name| name.starts_with("global/"));
        let like = if has_global { "global/".into() } else { format!("{}/0/", groups[0]) };
        let layout = source.layout(&names, like)?;
        let start = if has_global { source.flat(&layout, "global")? } else { vec![0.0; layout.len()] };
        finite(&layout, "global", &start)?;
        let update = |group: &str| -> Result<Vec<f32>> {
            let mut values = source.flat(&layout, group)?;
            if !source.several {
                values.iter_mut().zip(&start).for_each(|(local, received)| *local -= received);
            }
            Ok(values)
        };
        let of_round = |group: &String| -> Result<Vec<Vec<f32>>> {
            (0..num_clients).map(|client| update(&format!("{group}/{client}"))).collect()
        };
        let rounds = groups.iter().map(of_round).collect::<Result<Vec<_>>>()?;
        let root = names.iter().any(|name| name.starts_with("root/")).then(|| update("root")).transpose()?;
        if let Some(root) = &root {
            finite(&layout, "root", root)?;
        }
        let updates = Updates {
            num_examples: source.num_examples(num_clients)?,
            has_steps: names.contains(&"steps"),
            steps: source.counts("steps", num_clients, 1, Some(1))?,
            losses: source.losses(num_clients)?,
            attackers: source.attackers(num_clients)?,
            several: source.several,
            layout,
            start,
            rounds,
            root,
        };
        source.all_read(&names)?;
        Ok(updates)
    }
}

/// Clients may have gone wrong, what the server holds may not.
fn finite(layout: &Layout, group: &str, values: &[f32]) -> Result<()> {
    let Some(position) = values.iter().position(|x| !x.is_finite()) else { return Ok(()) };
    let after = layout.tensors.partition_point(|tensor| tensor.offset <= position);
    let tensor = &layout.tensors[after - 1];
    Err(fault(format!(
        "tensor `{group}/{}` gives {} at index {}; it must be finite",
        tensor.name,
        values[position],
        position - tensor.offset
    )))
}

pub(super) fn fault(message: String) -> anyhow::Error {
    Fault::new(Kind::Data, message)
}
