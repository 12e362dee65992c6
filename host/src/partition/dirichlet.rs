//! Each class is spread over the clients: class mixture and sample count differ.
//!
//! Where in the flow: a kind of partition. What it never does: balance sizes.

use super::{redraw, shares, task::Draw, task::NOBODY, task::Task};
use anyhow::Result;

/// For each class c in ascending order: p ~ Dir_K(alpha), the class's rows cut at floor(cumsum(p)·n_c), part k to
/// client k. Every row is used.
///
/// Source: Flower's `DirichletPartitioner` without self-balancing; the method goes back to Yurochkin et al.
/// (arXiv:1905.12022). Departure: more than Flower's 11 draws, see [`redraw`].
pub fn owners(task: &Task<'_>) -> Result<Vec<u32>> {
    let class_sizes = task.class_sizes();
    let variates = task.num_clients() * class_sizes.len();
    // A draw keeps only its number: its parts are drawn again from the same streams, class by class, so that a million
    // clients times a thousand classes never lie in memory together.
    let accepted = redraw::until_minimum(task, variates, |attempt| {
        let mut sizes = vec![0; task.num_clients()];
        for (class, &n) in class_sizes.iter().enumerate() {
            let parts = class_shares(task, attempt, class);
            sizes.iter_mut().zip(shares::cut(&parts, n)).for_each(|(size, part)| *size += part);
        }
        Ok((sizes, attempt))
    })?;

    let by_class = task.rows_by_class();
    let mut owners = vec![NOBODY; task.num_rows()];
    for (class, &n) in class_sizes.iter().enumerate() {
        let parts = class_shares(task, accepted, class);
        let mut rows = by_class.client(class).iter();
        for (client, part) in (0u32..).zip(shares::cut(&parts, n)) {
            rows.by_ref().take(part as usize).for_each(|&row| owners[row as usize] = client);
        }
    }
    Ok(owners)
}

fn class_shares(task: &Task<'_>, attempt: u16, class: usize) -> Vec<f64> {
    task.stream(Draw::Shares(attempt), class as u64).dirichlet(&vec![task.settings.alpha; task.num_clients()])
}
