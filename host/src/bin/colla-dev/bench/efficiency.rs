//! Floating-point operations a second on one core against the most that the core can do.
//!
//! Seconds of training include aggregation and the waiting of agents without clients, so the shares are those of the
//! product, not of a kernel.

use super::{
    machine::Machine,
    summary::Group,
    table::{markdown, number},
    tasks::EVALUATED,
};

/// One line for each task that CollA ran, by its median seconds of training and of evaluation.
pub fn table(groups: &[Group<'_>], machine: &Machine) -> String {
    let mut lines = Vec::new();
    for group in groups.iter().filter(|group| group.runs[0].is_colla()) {
        let task = group.task;
        let threads = group.median(|run| run.threads.map(|threads| threads as f64));
        let peak = group.median(|run| Some(run.machine.fma_gflops)).unwrap_or(machine.fma_gflops);
        let cells = |seconds: Option<f64>, samples: f64, operations: f64| {
            let rate = seconds.zip(threads).map(|(seconds, threads)| samples / (seconds * threads));
            let gflops = rate.map(|rate| rate * operations / 1e9);
            let share = gflops.map_or("–".into(), |gflops| format!("{:.0} %", 100.0 * gflops / peak));
            [number(rate), number(gflops), share]
        };
        let trained = cells(group.median(|run| run.train_s), task.samples_per_round(), task.operations_of_training());
        let evaluated = cells(group.median(|run| run.evaluate_s), EVALUATED, task.operations_of_evaluation());
        let ([a, b, c], [d, e, f]) = (trained, evaluated);
        lines.push([task.to_string(), a, b, c, d, e, f]);
    }
    if lines.is_empty() {
        return String::new();
    }
    let head = [
        "task",
        "samples trained a core and second",
        "GFLOP/s a core",
        "of the peak",
        "samples evaluated a core and second",
        "GFLOP/s a core",
        "of the peak",
    ];
    format!("\n{}", markdown(head, lines))
}
