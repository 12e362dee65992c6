//! McMahan's split: rows sorted by label, cut into shards, a few shards for each client.
//!
//! Where in the flow: a kind of partition. What it never does: deal a short shard.

use super::task::{Draw, NOBODY, Task};
use anyhow::Result;

/// K × s shards of floor(N / (K·s)) rows of the label-sorted data, dealt in random order, s to each client.
///
/// The rows after the last full shard, fewer than K·s of the last class, are not used. On MNIST with K = 100 and s = 2
/// a shard has 300 rows, nothing is left over, and a client holds one to four classes, mostly two.
/// Source: McMahan et al., AISTATS 2017, section 3 (arXiv:1602.05629); Flower's `ShardPartitioner`.
pub fn owners(task: &Task<'_>) -> Result<Vec<u32>> {
    let per_client = task.settings.shards_per_client;
    let shard_size = task.num_rows() / (task.num_clients() * per_client);
    task.require_minimum(shard_size * per_client)?;

    let by_class = task.rows_by_class();
    let shards: Vec<&[u32]> = by_class.rows().chunks_exact(shard_size).take(task.num_clients() * per_client).collect();
    let mut turns: Vec<u32> = (0..shards.len() as u32).collect();
    task.stream(Draw::Turns, 0).shuffle(&mut turns);
    let mut owners = vec![NOBODY; task.num_rows()];
    for (client, hand) in (0u32..).zip(turns.chunks_exact(per_client)) {
        for &shard in hand {
            shards[shard as usize].iter().for_each(|&row| owners[row as usize] = client);
        }
    }
    Ok(owners)
}
