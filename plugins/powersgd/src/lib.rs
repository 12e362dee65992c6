//! PowerSGD, Algorithm 1 of Vogels et al. (arXiv:1905.13727): one step of subspace iteration for each matrix M of the
//! update, P ← M·Q, P̂ ← P with orthonormal columns (Gram–Schmidt), Q ← Mᵀ·P̂; the receiver gets P̂ and Q and forms P̂·Qᵀ,
//! which is M projected on the columns of P̂. Q is kept: the next update of the client starts from it (warm start), so
//! that the subspace follows the largest singular vectors over the rounds.
//!
//! A tensor of shape (n, ..) is the matrix of its first dimension by all others, as in the paper. Vectors, and matrices
//! for which two factors are no shorter than the matrix, are sent as they are (the authors' package does so already
//! where less than half is saved). Both sides know the shapes, so there is no header: a piece is the columns of P̂,
//! then those of Q, or the plain values, in f32.
//!
//! Departure: the paper's workers average P before they form Q, and average Q, so all of them share one P̂. Clients
//! of a federation upload once: each sends both factors of its own matrix, and the host averages the products. The first Q
//! is drawn with the run's seed, the same for every client. For vectors besides the update nothing is kept, and every time
//! starts from it.
//!
//! All products are sums in f64 in a fixed order, rounded to f32 where they are sent.

mod matrix;

use colla_plugin_sdk::layout::shapes;
use colla_plugin_sdk::random::{self, Scope};
use colla_plugin_sdk::{
    Compress, Error, Input, Map, Output, Parameters, Plugin, Result, Source, Target, Value, colla_plugin,
};
use matrix::{expand, orthonormalise, times, transposed_times};

struct PowerSgd {
    rank: usize,
    /// The pieces, known from LAYOUT on.
    tensors: Vec<Tensor>,
}

/// How one tensor is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tensor {
    /// As it is: this many values.
    Plain(usize),
    /// As two factors.
    Factors {
        rows: usize,
        columns: usize,
        rank: usize,
        /// Where its first Q begins in the plugin's random stream.
        stream: u64,
    },
}

/// The plugin's only random stream: the first Q of one tensor after another.
const FIRST: u16 = 0;

impl Tensor {
    /// Of the shape `dimensions`, as factors of `rank` columns if these are shorter.
    fn new(dimensions: &[usize], rank: usize, stream: u64) -> Option<Self> {
        let len = dimensions.iter().try_fold(1usize, |len, &dimension| len.checked_mul(dimension))?;
        let [rows, rest @ ..] = dimensions else { return Some(Tensor::Plain(len)) };
        let columns: usize = rest.iter().product();
        let factors = rank.checked_mul(rows.checked_add(columns)?)?;
        Some(match rest {
            [] => Tensor::Plain(len),
            _ if factors >= len => Tensor::Plain(len),
            _ => Tensor::Factors { rows: *rows, columns, rank, stream },
        })
    }

    fn len(self) -> usize {
        match self {
            Tensor::Plain(len) => len,
            Tensor::Factors { rows, columns, .. } => rows * columns,
        }
    }

    /// Elements of Q.
    fn state(self) -> usize {
        match self {
            Tensor::Plain(_) => 0,
            Tensor::Factors { columns, rank, .. } => columns * rank,
        }
    }
}

impl Plugin for PowerSgd {
    fn create(parameters: &Parameters) -> Result<Self> {
        let rank = parameters.i64("rank")?;
        match usize::try_from(rank) {
            Ok(rank) if rank > 0 => Ok(PowerSgd { rank, tensors: Vec::new() }),
            _ => Err(Error::config(format!("`rank` is {rank}; use 1 or more"))),
        }
    }

    fn layout(&mut self, layout: &Map) -> Result<Map> {
        let mut stream = 0;
        self.tensors.clear();
        for (index, shape) in shapes(layout)?.iter().enumerate() {
            let tensor = Tensor::new(shape, self.rank, stream)
                .ok_or_else(|| Error::argument(format!("LAYOUT: the shape of tensor {index} is unusable")))?;
            stream += tensor.state() as u64;
            self.tensors.push(tensor);
        }
        let elements: Vec<Value> = self.tensors.iter().map(|tensor| Value::I64(tensor.state() as i64)).collect();
        Ok(Map::new().with("piece_state", elements))
    }
}

impl PowerSgd {
    /// The tensor that is piece number `unit`, of `n` values.
    fn tensor(&self, unit: u32, n: usize) -> Result<Tensor> {
        let known = self.tensors.get(unit as usize).copied();
        let tensor = known.ok_or_else(|| {
            Error::state(format!("piece {unit} is none of the {} tensors that LAYOUT told", self.tensors.len()))
        })?;
        match tensor.len() {
            len if len == n => Ok(tensor),
            len => Err(Error::argument(format!("piece {unit} has {n} values, its tensor has {len}"))),
        }
    }
}

impl Compress for PowerSgd {
    fn encode(&mut self, mut source: Source<'_>, output: &mut Output<'_>) -> Result<()> {
        let tensor = self.tensor(source.unit, source.values.len())?;
        let Tensor::Factors { rows, columns, rank, stream } = tensor else { return put(source.values, output) };
        let kept = source.states.first_mut();
        let mut q = kept.as_ref().map_or_else(|| vec![0.0; tensor.state()], |kept| kept.to_vec());
        if q.len() != tensor.state() {
            return Err(Error::argument(format!("the state of {} values is not {} long", q.len(), tensor.state())));
        }
        draw_lost(&mut q, columns, stream)?;
        let mut p = times(source.values, &q, rows, columns);
        orthonormalise(&mut p, rows);
        // From the factor as it is sent, so that sender and receiver project on the same columns.
        let p: Vec<f32> = p.into_iter().map(|value| value as f32).collect();
        let q: Vec<f32> =
            transposed_times(source.values, &p, rows, columns).into_iter().map(|value| value as f32).collect();
        if p.len() != rows * rank || !p.iter().chain(&q).all(|value| value.is_finite()) {
            return Err(Error::numeric(format!("the factors of piece {} are not finite", source.unit)));
        }
        if let Some(kept) = kept {
            kept.copy_from_slice(&q);
        }
        put(&p, output)?;
        put(&q, output)
    }

    fn decode(&mut self, mut input: Input<'_>, target: Target<'_>) -> Result<()> {
        let tensor = self.tensor(target.unit, target.values.len())?;
        let Tensor::Factors { rows, columns, rank, .. } = tensor else {
            target.values.copy_from_slice(&take(target.values.len(), &mut input)?);
            return input.finish();
        };
        let (p, q) = (take(rows * rank, &mut input)?, take(columns * rank, &mut input)?);
        input.finish()?;
        expand(&p, &q, rows, columns, target.values);
        Ok(())
    }
}

/// Draws the columns of Q that are zero: all at the first use, later those in which the update had nothing.
fn draw_lost(q: &mut [f32], columns: usize, stream: u64) -> Result<()> {
    for (index, column) in q.chunks_mut(columns).enumerate() {
        if column.iter().all(|&value| value == 0.0) {
            random::normal(Scope::Run, FIRST, stream + (index * columns) as u64, column)?;
        }
    }
    Ok(())
}

fn put(values: &[f32], output: &mut Output<'_>) -> Result<()> {
    let places = output.reserve(4 * values.len())?.as_chunks_mut().0;
    places.iter_mut().zip(values).for_each(|(place, value)| *place = value.to_le_bytes());
    Ok(())
}

fn take(count: usize, input: &mut Input<'_>) -> Result<Vec<f32>> {
    let values: Vec<f32> =
        input.take(4 * count)?.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(index) => Err(Error::argument(format!("value {index} of {count} in the piece is not finite"))),
    }
}

colla_plugin!(PowerSgd: compress);

#[cfg(test)]
mod tests;
