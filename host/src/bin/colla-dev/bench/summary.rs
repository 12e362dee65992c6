//! The runs of a bench as Markdown: times, the comparison with each program, efficiency, accuracies.
//!
//! What it never does: put times of different machines into one table.

use super::{
    accuracy, efficiency,
    machine::Machine,
    run::{Run, median},
    table::{markdown, number},
    tasks::Task,
};
use std::collections::BTreeSet;

/// The runs of one program on one task that count.
pub struct Group<'a> {
    pub task: Task,
    pub peer: &'a str,
    pub runs: Vec<&'a Run>,
    /// Whether others kept quiet in all of them. If not, there was no undisturbed run at all.
    pub clean: bool,
}

impl Group<'_> {
    pub fn median(&self, value: fn(&Run) -> Option<f64>) -> Option<f64> {
        median(self.runs.iter().filter_map(|run| value(run)))
    }

    fn range(&self, value: fn(&Run) -> Option<f64>) -> String {
        let values = || self.runs.iter().filter_map(move |run| value(run));
        format!("{}–{}", number(values().reduce(f64::min)), number(values().reduce(f64::max)))
    }
}

/// Everything that can be said of the runs, machine by machine.
pub fn of(runs: &[Run]) -> String {
    let mut text = String::new();
    let mut machines: Vec<&Machine> = Vec::new();
    for run in runs {
        if !machines.iter().any(|machine| machine.is_like(&run.machine)) {
            machines.push(&run.machine);
        }
    }
    for machine in machines {
        let here: Vec<&Run> = runs.iter().filter(|run| run.machine.is_like(machine)).collect();
        text += &head(machine, &here);
        let timed: Vec<&Run> = here.iter().copied().filter(|run| run.seed.is_none() && !run.cold).collect();
        let groups = groups(&timed);
        if !groups.is_empty() {
            text += &format!("\n{}", times(&groups, &here));
            text += &compared(&groups);
            text += &efficiency::table(&groups, machine);
        }
        text += &accuracy::table(&here);
        text += &failures(&here);
    }
    text
}

fn head(machine: &Machine, runs: &[&Run]) -> String {
    let of = |value: fn(&Run) -> Option<String>| -> String {
        let values: BTreeSet<String> = runs.iter().filter_map(|run| value(run)).collect();
        values.into_iter().collect::<Vec<_>>().join(", ")
    };
    let loads = runs.iter().filter_map(|run| run.load_before).reduce(f64::max);
    let peak = runs.iter().map(|run| run.machine.fma_gflops).fold(0.0, f64::max);
    format!(
        "{}, {} cores, {}; FMA peak of one core {peak:.0} GFLOP/s; CollA {}, commit {}, {}, {} threads; load average before \
         a run at most {}\n",
        machine.cpu,
        machine.cores,
        machine.system,
        of(|run| run.version.clone()),
        of(|run| Some(run.machine.commit.clone())),
        of(|run| run.kernel.clone()),
        of(|run| run.threads.map(|threads| threads.to_string())),
        number(loads),
    )
}

/// By task, CollA first, then the fastest first. Undisturbed runs where there are any.
fn groups<'a>(runs: &[&'a Run]) -> Vec<Group<'a>> {
    let keys: BTreeSet<(Task, bool, &str)> =
        runs.iter().filter_map(|run| Some((run.task?, !run.is_colla(), run.peer.as_str()))).collect();
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (task, _, peer) in keys {
        let all =
            || runs.iter().copied().filter(move |run| run.task == Some(task) && run.peer == peer && !run.failed());
        let clean: Vec<&Run> = all().filter(|run| run.clean).collect();
        let group = match clean.is_empty() {
            false => Group { task, peer, runs: clean, clean: true },
            true => Group { task, peer, runs: all().collect(), clean: false },
        };
        if !group.runs.is_empty() {
            groups.push(group);
        }
    }
    groups.sort_by(|a, b| {
        let key = |group: &Group<'_>| (group.task, !group.runs[0].is_colla());
        let seconds = |group: &Group<'_>| group.median(|run| run.s_per_round).unwrap_or(f64::INFINITY);
        key(a).cmp(&key(b)).then(seconds(a).total_cmp(&seconds(b)))
    });
    groups
}

fn times(groups: &[Group<'_>], all: &[&Run]) -> String {
    let line = |group: &Group<'_>| {
        let cold = all.iter().filter(|run| run.cold && run.task == Some(group.task) && run.peer == group.peer);
        let cold = median(cold.filter_map(|run| run.startup_s));
        [
            group.task.to_string(),
            group.peer.to_owned(),
            format!("{}{}", group.runs.len(), if group.clean { "" } else { " disturbed" }),
            number(group.median(|run| run.s_per_round)),
            group.range(|run| run.s_per_round),
            number(group.median(|run| run.first_round_s)),
            number(group.median(|run| run.startup_s)),
            number(cold),
            number(group.median(|run| Some(run.total_s))),
            number(group.median(|run| run.cpu_s)),
            number(group.median(Run::memory)),
            group.median(|run| run.final_acc).map_or("–".into(), |accuracy| format!("{accuracy:.4}")),
        ]
    };
    let head = [
        "task",
        "program",
        "runs",
        "s a round",
        "min–max",
        "round 1 s",
        "start s",
        "cold start s",
        "whole s",
        "CPU s",
        "peak MiB",
        "accuracy",
    ];
    markdown(head, groups.iter().map(line).collect())
}

/// By what CollA is faster than each other program, in seconds a round and as whole processes.
fn compared(groups: &[Group<'_>]) -> String {
    let mut lines = Vec::new();
    for colla in groups.iter().filter(|group| group.runs[0].is_colla()) {
        let others = groups.iter().filter(|group| group.task == colla.task && !group.runs[0].is_colla());
        for (place, other) in others.enumerate() {
            let ratio = |value: fn(&Run) -> Option<f64>| {
                let ratio = other.median(value).zip(colla.median(value)).map(|(other, own)| other / own);
                ratio.map_or("–".into(), |ratio| format!("{} ×", number(Some(ratio))))
            };
            let fastest = if place == 0 { ", the fastest of those measured" } else { "" };
            lines.push([
                colla.task.to_string(),
                format!("{}{fastest}", other.peer),
                ratio(|run| run.s_per_round),
                ratio(|run| Some(run.total_s)),
                ratio(Run::memory),
            ]);
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let head = ["task", "what CollA is compared with", "its time a round", "its whole process", "its peak memory"];
    format!("\n{}", markdown(head, lines))
}

fn failures(runs: &[&Run]) -> String {
    let failed = runs.iter().filter(|run| run.failed());
    let line = |run: &&Run| {
        let task = run.task.map_or(String::new(), |task| task.to_string());
        let how = if run.timed_out { "ran out of time".to_owned() } else { format!("ended with code {}", run.rc) };
        format!("\n{task} {}: {how}\n", run.peer)
    };
    failed.map(line).collect()
}
