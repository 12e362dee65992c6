//! Final accuracies over seeds, and whether they differ by more than their spread allows.
//!
//! The programs draw weights, partitions, cohorts and batches each in its own way, so only means can agree. The interval is
//! Welch's: difference of the means ± t · sqrt(s²/n + s'²/n'), t the 0.975 quantile of Student's distribution with the
//! degrees of freedom of Welch and Satterthwaite, rounded down.

use super::{run::Run, table::markdown, tasks::Task};
use std::collections::BTreeSet;

/// 0.975 quantiles of Student's t for 1, 2, … degrees of freedom; the last one serves for more, which widens the interval.
const QUANTILES: [f64; 20] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086,
];

/// Mean and squared standard error of a program's accuracies.
struct Sample {
    mean: f64,
    /// Sample standard deviation (n − 1).
    sd: f64,
    n: f64,
}

impl Sample {
    fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        if values.len() < 2 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        Some(Sample { mean, sd: (squares / (n - 1.0)).sqrt(), n })
    }

    fn squared_error(&self) -> f64 {
        self.sd * self.sd / self.n
    }
}

/// Half the width of the 95 % interval of a difference of means.
fn half_width(a: &Sample, b: &Sample) -> f64 {
    let (x, y) = (a.squared_error(), b.squared_error());
    if x + y == 0.0 {
        return 0.0;
    }
    let freedom = (x + y) * (x + y) / (x * x / (a.n - 1.0) + y * y / (b.n - 1.0));
    // Four that come out a rounding short of four are four.
    QUANTILES[((freedom + 1e-9) as usize).clamp(1, QUANTILES.len()) - 1] * (x + y).sqrt()
}

/// One line for each task and program with at least two seeds.
pub fn table(runs: &[&Run]) -> String {
    let seeded = || runs.iter().filter(|run| run.seed.is_some() && !run.failed());
    let sample = |task: Task, peer: &str| {
        let of = seeded().filter(|run| run.task == Some(task) && run.peer == peer);
        Sample::of(&of.filter_map(|run| run.final_acc).collect::<Vec<_>>())
    };
    let keys: BTreeSet<(Task, bool, &str)> =
        seeded().filter_map(|run| Some((run.task?, !run.is_colla(), run.peer.as_str()))).collect();
    let mut lines = Vec::new();
    for (task, is_other, peer) in keys {
        let Some(own) = sample(task, peer) else { continue };
        let difference = match sample(task, super::run::COLLA).filter(|_| is_other) {
            None => ["".into(), "".into()],
            Some(colla) => {
                let (difference, half) = (colla.mean - own.mean, half_width(&colla, &own));
                let verdict = if difference.abs() <= half { "within the spread" } else { "beyond the spread" };
                [format!("{difference:+.4} ± {half:.4}"), verdict.into()]
            }
        };
        let [difference, verdict] = difference;
        let mean = format!("{:.4} ± {:.4}", own.mean, own.sd);
        lines.push([task.to_string(), peer.to_owned(), own.n.to_string(), mean, difference, verdict]);
    }
    if lines.is_empty() {
        return String::new();
    }
    let head = ["task", "program", "seeds", "final accuracy, mean ± sd", "CollA minus it, 95 % interval", ""];
    format!("\n{}", markdown(head, lines))
}
