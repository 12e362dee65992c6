//! Role select: which clients train in a round.

use super::{Plugin, require};
use crate::abi::{op, select_table};
use crate::{Block, Error, Map, Result};

/// All clients of the federation; the position of a client is its id.
#[derive(Clone, Copy, Debug)]
pub struct Clients<'a> {
    table: &'a [f64],
    columns: usize,
}

/// What the server knows of a client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// 0 for a client that cannot be chosen.
    pub num_examples: f64,
    /// Round and training loss of the last time it took part.
    pub last: Option<(u64, f64)>,
}

impl<'a> Clients<'a> {
    pub fn len(&self) -> usize {
        self.table.len() / self.columns
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// In the order of client ids.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Known> + 'a {
        self.table.chunks_exact(self.columns).map(|row| Known {
            num_examples: row[select_table::NUM_EXAMPLES],
            last: match row[select_table::LAST_ROUND] {
                round if round >= 1.0 => Some((round as u64, row[select_table::LAST_LOSS])),
                _ => None,
            },
        })
    }
}

pub trait Select: Plugin {
    /// SELECT: ids of at most `size` different clients with examples. Random numbers have round scope.
    fn select(&mut self, clients: Clients<'_>, size: usize) -> Result<Vec<u32>>;
}

/// The word of manifests.
pub const KIND: &str = "select";
pub const IS_STAGE: bool = false;
pub const DECIDES: bool = false;

pub fn call<T: Select>(_: &mut T, _: u32, _: &Map) -> Option<Result<Map>> {
    None
}

pub fn block<T: Select>(plugin: &mut T, operation: u32, block: &mut Block<'_>) -> Option<Result<()>> {
    (operation == op::SELECT).then(|| select(plugin, block))
}

fn select<T: Select>(plugin: &mut T, block: &mut Block<'_>) -> Result<()> {
    let columns = block.table.len().checked_div(block.k).unwrap_or(0);
    let whole = columns >= select_table::COLUMNS && columns * block.k == block.table.len();
    require(whole, "SELECT", "a `table` of k rows with at least 3 columns")?;
    let size = block.mix_out.len();
    let chosen = plugin.select(Clients { table: block.table, columns }, size)?;
    if chosen.len() > size {
        return Err(Error::internal(format!("chose {} clients where {size} were asked for", chosen.len())));
    }
    block.mix_out.fill(-1.0);
    block.mix_out.iter_mut().zip(chosen).for_each(|(place, client)| *place = client.into());
    Ok(())
}
