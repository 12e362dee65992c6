//! Which classes each client holds, and the handing out of class parts to their holders.
//!
//! Where in the flow: inside the kinds that fix the number of classes per client. What it never does: choose the size
//! of a part; its callers do.

use super::settings::fault;
use super::task::{Draw, NOBODY, Task};
use anyhow::Result;

/// The same number of distinct classes for each client.
pub struct LabelSets {
    per_client: usize,
    /// Client after client.
    classes: Vec<u32>,
}

impl LabelSets {
    /// Each client draws its classes without replacement, among the classes that have rows.
    pub fn random(task: &Task<'_>, attempt: u16) -> Result<LabelSets> {
        let (present, per_client) = (present(task)?, task.settings.classes_per_client);
        let mut classes = Vec::with_capacity(task.num_clients() * per_client);
        for client in 0..task.num_clients() {
            let drawn = task.stream(Draw::Labels(attempt), client as u64).choose(present.len() as u64, per_client);
            classes.extend(drawn.into_iter().map(|i| present[i as usize]));
        }
        Ok(LabelSets { per_client, classes })
    }

    /// Client i holds the classes i, i + 1, … mod C, counted among the classes that have rows.
    pub fn successive(task: &Task<'_>, per_client: usize) -> Result<LabelSets> {
        let present = present(task)?;
        let of_client = |client: usize| (0..per_client).map(move |j| client + j);
        let classes = (0..task.num_clients()).flat_map(of_client).map(|i| present[i % present.len()]).collect();
        Ok(LabelSets { per_client, classes })
    }

    /// u_c, the number of clients that hold each class.
    pub fn holders(&self, num_classes: usize) -> Vec<usize> {
        let mut holders = vec![0; num_classes];
        self.classes.iter().for_each(|&class| holders[class as usize] += 1);
        holders
    }

    /// Calls `part(rows of class c, u_c)` for each class that somebody holds: the sizes of the parts of its holders, in
    /// client order.
    ///
    /// Errors: `Kind::Config` if a class has fewer rows than `least` for each of its holders.
    pub fn parts(
        &self,
        task: &Task<'_>,
        least: usize,
        mut part: impl FnMut(usize, u32, usize) -> Vec<u32>,
    ) -> Result<Vec<Vec<u32>>> {
        let sizes = task.class_sizes();
        let holders = self.holders(sizes.len());
        if let Some(class) = (0..sizes.len()).find(|&class| least * holders[class] > sizes[class] as usize) {
            let (held, rows, what) = (holders[class], sizes[class], task.describe());
            return Err(fault(format!(
                "config `partition`: with {what} class {class} has {held} holders that need {least} of its rows each, \
                 but it has {rows} rows; use fewer clients or fewer classes per client"
            )));
        }
        Ok((0..sizes.len()).map(|class| part(class, sizes[class], holders[class])).collect())
    }

    /// Rows of each client, given the parts of each class.
    pub fn sizes(&self, parts: &[Vec<u32>]) -> Vec<u32> {
        let mut sizes = vec![0; self.classes.len() / self.per_client];
        self.walk(parts, |client, _, part| sizes[client as usize] += part);
        sizes
    }

    /// Hands the parts out.
    pub fn owners(&self, task: &Task<'_>, parts: &[Vec<u32>]) -> Vec<u32> {
        let by_class = task.rows_by_class();
        let mut rows: Vec<_> = (0..parts.len()).map(|class| by_class.client(class).iter()).collect();
        let mut owners = vec![NOBODY; task.num_rows()];
        self.walk(parts, |client, class, part| {
            rows[class].by_ref().take(part as usize).for_each(|&row| owners[row as usize] = client);
        });
        owners
    }

    /// Visits (client, class, size of its part) in client order.
    fn walk(&self, parts: &[Vec<u32>], mut visit: impl FnMut(u32, usize, u32)) {
        let mut next = vec![0; parts.len()];
        for (client, set) in (0u32..).zip(self.classes.chunks_exact(self.per_client)) {
            for class in set.iter().map(|&class| class as usize) {
                visit(client, class, parts[class][next[class]]);
                next[class] += 1;
            }
        }
    }
}

/// Classes that have training rows, at least as many as a client needs.
fn present(task: &Task<'_>) -> Result<Vec<u32>> {
    let sizes = task.class_sizes();
    let present: Vec<u32> = (0u32..).zip(&sizes).filter(|(_, n)| **n > 0).map(|(class, _)| class).collect();
    let wanted = task.settings.classes_per_client;
    if wanted > present.len() {
        let (name, there) = (&task.data.name, present.len());
        return Err(fault(format!(
            "config `partition.classes-per-client = {wanted}`: only {there} classes of `{name}` have training rows; \
             use a value from 1 to {there}"
        )));
    }
    Ok(present)
}
