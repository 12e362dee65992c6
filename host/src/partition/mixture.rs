//! Each client draws its own class mixture; sizes are given.
//!
//! Where in the flow: two kinds of partition. What it never does: leave a row unused or a size unmet.

use super::task::{Draw, NOBODY, Task};
use super::{ClientRows, lognormal, shares};
use crate::random::Stream;
use anyhow::Result;

/// q_k ~ Dir(alpha·p), p the class shares of the training set; equal sizes (the first `N mod K` one row larger).
///
/// The concentration of class c is alpha·p_c with Σ p_c = 1, as the paper writes it: with ten even classes a tenth of
/// what the same alpha means where the concentration is alpha for every class (FedDyn, FedLab).
/// Source: Hsu, Qi, Brown, arXiv:1909.06335, section 3. Rows are drawn without replacement and every row is used,
/// which the paper leaves open; see [`deal`].
pub fn equal_sizes(task: &Task<'_>) -> Result<Vec<u32>> {
    Ok(deal(task, &shares::equal(task.num_rows(), task.num_clients()).collect::<Vec<u32>>()))
}

/// The same mixtures with the sizes of [`lognormal::sizes`]: class mixture and sample count differ.
pub fn lognormal_sizes(task: &Task<'_>) -> Result<Vec<u32>> {
    Ok(deal(task, &lognormal::sizes(task)))
}

/// Gives each client `sizes[k]` rows by its mixture, without replacement.
///
/// 1. Each client draws the class of each of its rows from q_k.
/// 2. Each class serves the wishes for it; if they exceed its rows, a random choice of them.
/// 3. In random order, clients whose wishes failed draw again from q_k among the classes that still have rows,
///    renormalised (in logarithms, so that a tiny alpha cannot make every weight 0).
///
/// It differs from Flower's `InnerDirichletPartitioner` in that no second choice is served before a first choice,
/// which keeps clients closer to their mixtures, and in that it needs no K × C matrix.
fn deal(task: &Task<'_>, sizes: &[u32]) -> Vec<u32> {
    let by_class = task.rows_by_class();
    let concentration = concentration(task);
    let (mut owners, mut unmet) = serve_first_choices(task, sizes, &by_class, &concentration);
    let mut left: Vec<&[u32]> = (0..by_class.num_clients()).map(|class| by_class.client(class)).collect();
    for rows in &mut left {
        let served = rows.partition_point(|&row| owners[row as usize] != NOBODY);
        *rows = &rows[served..];
    }

    let mut turns: Vec<u32> = (0..sizes.len() as u32).filter(|&k| unmet[k as usize] > 0).collect();
    task.stream(Draw::Turns, 0).shuffle(&mut turns);
    for client in turns {
        let logs = mixture(&mut task.stream(Draw::Mixture, client.into()), &concentration);
        let mut stream = task.stream(Draw::Substitutes, client.into());
        let mut choice: Option<Choice> = None;
        while unmet[client as usize] > 0 {
            let weights = choice.get_or_insert_with(|| Choice::among(&logs, |class| !left[class].is_empty()));
            let class = weights.draw(&mut stream);
            let Some((&row, rest)) = left[class].split_first() else { break };
            left[class] = rest;
            owners[row as usize] = client;
            unmet[client as usize] -= 1;
            if rest.is_empty() {
                choice = None;
            }
        }
    }
    owners
}

/// Steps 1 and 2: the owners so far, and how many rows each client still lacks. Of each class a prefix is given away.
fn serve_first_choices(
    task: &Task<'_>,
    sizes: &[u32],
    by_class: &ClientRows,
    concentration: &[f64],
) -> (Vec<u32>, Vec<u32>) {
    let mut wishes: Vec<Vec<u32>> = vec![Vec::new(); by_class.num_clients()];
    for (client, &size) in (0u32..).zip(sizes) {
        let mut stream = task.stream(Draw::Mixture, client.into());
        let choice = Choice::among(&mixture(&mut stream, concentration), |_| true);
        (0..size).for_each(|_| wishes[choice.draw(&mut stream)].push(client));
    }
    let mut owners = vec![NOBODY; task.num_rows()];
    let mut unmet = vec![0; sizes.len()];
    for (class, clients) in wishes.iter_mut().enumerate() {
        let rows = by_class.client(class);
        if clients.len() > rows.len() {
            task.stream(Draw::Turns, class as u64 + 1).shuffle(clients);
            clients[rows.len()..].iter().for_each(|&client| unmet[client as usize] += 1);
        }
        rows.iter().zip(clients.iter()).for_each(|(&row, &client)| owners[row as usize] = client);
    }
    (owners, unmet)
}

/// alpha·p_c for each class.
fn concentration(task: &Task<'_>) -> Vec<f64> {
    let rows = task.num_rows() as f64;
    task.class_sizes().into_iter().map(|n| task.settings.alpha * f64::from(n) / rows).collect()
}

/// ln of unnormalised Dirichlet weights; a class without rows gets −∞.
fn mixture(stream: &mut Stream, concentration: &[f64]) -> Vec<f64> {
    let ln_weight = |&a: &f64| if a > 0.0 { stream.ln_gamma_variate(a) } else { f64::NEG_INFINITY };
    concentration.iter().map(ln_weight).collect()
}

/// A categorical distribution ready to draw from.
struct Choice {
    /// Running sums of the weights; the last one is the total.
    cumulative: Vec<f64>,
}

impl Choice {
    /// Weights exp(logs) of the classes that are `open`, scaled so that the largest of them is 1.
    fn among(logs: &[f64], open: impl Fn(usize) -> bool) -> Choice {
        let allowed = logs.iter().enumerate().map(|(class, &log)| if open(class) { log } else { f64::NEG_INFINITY });
        let largest = allowed.clone().fold(f64::NEG_INFINITY, f64::max);
        let weight = |log: f64| if log == f64::NEG_INFINITY { 0.0 } else { libm::exp(log - largest) };
        let mut total = 0.0;
        let add = |log: f64| {
            total += weight(log);
            total
        };
        Choice { cumulative: allowed.map(add).collect() }
    }

    fn draw(&self, stream: &mut Stream) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let point = stream.uniform() * total;
        // The first sum above the point: a class of weight 0 has no sum of its own and is never met.
        self.cumulative.partition_point(|&sum| sum <= point).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn a_choice_never_meets_a_closed_class_however_small_the_weights_are() {
        let mut stream = Stream::new(1, Purpose::Partition, 0, 0);
        let logs = [0.0, -5_000.0, -5_000.0, f64::NEG_INFINITY];
        let choice = Choice::among(&logs, |class| class != 0);
        let mut counts = [0i32; 4];
        (0..10_000).for_each(|_| counts[choice.draw(&mut stream)] += 1);
        assert_eq!((counts[0], counts[3]), (0, 0));
        // Binomial(10000, 1/2): sd 50.
        assert!((counts[1] - 5_000).abs() < 250, "{counts:?}");
    }
}
