//! Bulyan of El Mhamdi et al. (ICML 2018, arXiv:1802.07927), section 4, with Krum: of n ≥ 4f + 3 updates, f of which may be
//! hostile, θ = n − 2f are selected; then each coordinate is the mean of the β = θ − 2f = n − 4f selected values nearest to
//! their median. Krum alone bounds distances of whole updates, behind which one coordinate can hide; Bulyan bounds each.
//!
//! Selection, as in the paper: θ times the update with the lowest Krum score among those not selected yet, of which
//! there are n′, with n′ − f − 2 neighbours, but at least one. Flower since 1.30 takes the θ lowest scores of one pass
//! instead (`selection = multi-krum`); the library of the paper's group takes n − 2f − 2 means of Multi-Krum, which is
//! not offered. Neither weighs by examples, since the mean is over other clients in each coordinate.
//!
//! DECIDE, in `f64`: dᵢⱼ = max(0, (Gᵢᵢ + Gⱼⱼ) − 2·Gᵢⱼ), a score adds the smallest ones to 0 in ascending order. Of
//! equal scores in repeated selection the update wins whose distances, ascending, are the smaller where they first
//! differ; what is equal still goes to the lower index, as in one pass. Selected updates are copied, in the order of
//! their indices. REDUCE, in `f32`: the median of an even number of values is (low + high)/2; the β nearest ones, of
//! two equally near the lower, are added to 0 in ascending order and divided by β ([`robust::mean_around_median`]).
//! Memory: all updates of the cohort, and the selected ones again.

use colla_plugin_sdk::robust::{self, Krum};
use colla_plugin_sdk::{
    Aggregate, Decision, DecisionPlan, Error, Gram, Parameters, Plugin, Result, colla_plugin, math,
};

struct Bulyan {
    krum: Krum,
    repeated: bool,
}

impl Plugin for Bulyan {
    fn create(parameters: &Parameters) -> Result<Self> {
        let repeated = parameters.choice("selection")? == "repeated-krum";
        Ok(Bulyan { krum: Krum::create(parameters)?, repeated })
    }
}

impl Aggregate for Bulyan {
    fn decision(&mut self, clients: u64) -> Result<DecisionPlan> {
        let n = usize::try_from(clients).unwrap_or(usize::MAX);
        self.krum.require(n, 4)?;
        Ok(DecisionPlan::rows((n - 2 * self.krum.f) as u64))
    }

    fn decide(&mut self, gram: &Gram<'_>, mut decision: Decision<'_>) -> Result<()> {
        let n = gram.rows();
        self.krum.require(n, 4)?;
        let theta = n - 2 * self.krum.f;
        if decision.rows_out() != theta {
            let problem = format!("{n} updates give {theta} selected ones, the host asks for {}", decision.rows_out());
            return Err(Error::argument(problem));
        }
        let selected = if self.repeated { self.repeatedly(gram, theta) } else { self.at_once(gram, theta) };
        selected.into_iter().enumerate().for_each(|(row, i)| decision.row(row)[i] = 1.0);
        Ok(())
    }

    fn reduce(&mut self, rows: &[&[f32]], _weights: Option<&[f64]>, out: &mut [f32]) -> Result<()> {
        // θ = n − 2f ≥ 2f + 3 rows come from DECIDE.
        let beta = rows.len().checked_sub(2 * self.krum.f).filter(|&beta| beta > 0);
        let beta = beta.ok_or_else(|| {
            let least = 2 * self.krum.f + 1;
            Error::argument(format!(
                "{} selected updates, and `f = {}` needs at least {least}",
                rows.len(),
                self.krum.f
            ))
        })?;
        math::reduce_sorted(rows, out, |sorted| robust::mean_around_median(sorted, beta));
        Ok(())
    }
}

impl Bulyan {
    /// Indices of the θ updates that Krum selects one after another, ascending.
    fn repeatedly(&self, gram: &Gram<'_>, theta: usize) -> Vec<usize> {
        let mut left: Vec<usize> = (0..gram.rows()).collect();
        let mut selected = Vec::with_capacity(theta);
        for _ in 0..theta {
            let best = self.lowest(gram, &left);
            selected.push(left.remove(best));
        }
        selected.sort_unstable();
        selected
    }

    /// The place in `left` of the lowest score. With a single neighbour the two nearest to each other always tie.
    fn lowest(&self, gram: &Gram<'_>, left: &[usize]) -> usize {
        let scores = self.krum.scores(gram, left);
        let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let distances = |place: usize| {
            let others = left.iter().filter(|&&j| j != left[place]);
            let mut distances: Vec<f64> = others.map(|&j| gram.dist2(left[place], j)).collect();
            distances.sort_by(f64::total_cmp);
            distances
        };
        let mut tied = (0..left.len()).filter(|&place| scores[place] == lowest).map(|place| (place, distances(place)));
        let first = tied.next().map_or((0, Vec::new()), |first| first);
        let nearer = |a: &[f64], b: &[f64]| a.iter().zip(b).find(|(a, b)| a != b).is_some_and(|(a, b)| a < b);
        tied.fold(first, |best, next| if nearer(&next.1, &best.1) { next } else { best }).0
    }

    /// Indices of the θ lowest scores, ascending.
    fn at_once(&self, gram: &Gram<'_>, theta: usize) -> Vec<usize> {
        let all: Vec<usize> = (0..gram.rows()).collect();
        robust::lowest(&self.krum.scores(gram, &all), theta)
    }
}

colla_plugin!(Bulyan: aggregate);

#[cfg(test)]
mod tests;
