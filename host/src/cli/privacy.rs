//! `colla-host privacy`: which epsilon so much noise gives, or how much noise an epsilon takes.

use super::{
    arguments::{AccountantName, CohortName, Format, PrivacyArguments},
    decimals, print,
};
use crate::{
    client::cohort_size,
    error::{Fault, Kind, short},
    privacy::{self, Accountant, LEAST_MULTIPLIER, Sampling},
    record::count,
};
use anyhow::Result;
use serde::Serialize;

pub(super) fn answer(arguments: &PrivacyArguments) -> Result<()> {
    let answer = Answer::of(arguments)?;
    print(&match arguments.output.format {
        Format::Json => serde_json::to_string(&answer)? + "\n",
        Format::Text => answer.to_text(),
    })
}

#[derive(Debug, PartialEq, Serialize)]
struct Answer {
    #[serde(serialize_with = "privacy::serialize_epsilon")]
    epsilon: f64,
    delta: f64,
    noise_multiplier: f64,
    rounds: u64,
    accountant: Accountant,
    sampling: &'static str,
    adjacency: &'static str,
    /// As it was given; of a fixed cohort, what `cohort` is in `population` counts.
    q: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cohort: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    population: Option<usize>,
    /// What to know of a number that is not what it seems.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Answer {
    fn of(arguments: &PrivacyArguments) -> Result<Self> {
        check(arguments)?;
        let sampling = sampling(arguments)?;
        let accountant = match arguments.accountant {
            AccountantName::Rdp => Accountant::Rdp,
            AccountantName::Pld => Accountant::Pld,
        };
        accountant.accepts(sampling).map_err(|why| usage(format!("`--accountant {}`: {why}", accountant.name())))?;
        let (rounds, delta) = (arguments.rounds, arguments.delta);
        let noise_multiplier = match (arguments.noise_multiplier, arguments.target_epsilon) {
            (Some(noise), _) => noise,
            (None, Some(target)) => privacy::noise_multiplier(accountant, sampling, target, rounds, delta)?,
            // The parser asks for one of them.
            (None, None) => return Err(usage("give `--noise-multiplier` or `--target-epsilon`".into())),
        };
        let (cohort, population) = match sampling {
            Sampling::Poisson { .. } => (None, None),
            Sampling::Fixed { cohort, population } => (Some(cohort), Some(population)),
        };
        let epsilon = privacy::epsilon(accountant, sampling, noise_multiplier, rounds, delta)?;
        let wanted = arguments.target_epsilon.filter(|_| noise_multiplier == LEAST_MULTIPLIER);
        let note = match wanted {
            Some(target) => {
                let target = short(target);
                Some(format!("less noise would do for an epsilon of {target}; no smaller multiplier is looked at"))
            }
            None if accountant == Accountant::Pld && noise_multiplier > 0.0 && epsilon.is_infinite() => {
                Some("with so little noise `pld` has no finite bound; `--accountant rdp` has one".into())
            }
            None => None,
        };
        Ok(Answer {
            epsilon,
            delta,
            noise_multiplier,
            rounds,
            accountant,
            sampling: sampling.name(),
            adjacency: sampling.adjacency(),
            q: arguments.sampling_rate,
            cohort,
            population,
            note,
        })
    }

    fn to_text(&self) -> String {
        let Answer { epsilon, delta, noise_multiplier, rounds, accountant, adjacency, q, .. } = self;
        let (rounds, accountant) = (count(*rounds), accountant.name());
        let drawn = match self.cohort.zip(self.population) {
            None => format!(
                "a client comes or goes ({adjacency}), and each is drawn into a round by itself with probability {}",
                short(*q)
            ),
            Some((cohort, population)) => format!(
                "a client is replaced by another ({adjacency}, so the sensitivity is twice the norm bound), and a round \
                 draws {} of {} clients without replacement",
                count(cohort as u64),
                count(population as u64)
            ),
        };
        let (epsilon, noise_multiplier) = (decimals(*epsilon), short(*noise_multiplier));
        let note = self.note.as_ref().map_or(String::new(), |note| format!("Note: {note}.\n"));
        format!(
            "epsilon           {epsilon}\ndelta             {delta:e}\nnoise multiplier  {noise_multiplier}\n\
             rounds            {rounds}\naccountant        {accountant}\n\
             Assumed: {drawn}; every round counts in which a client could have been drawn; the noise's standard deviation \
             is the multiplier times the sensitivity.\n{note}"
        )
    }
}

fn check(arguments: &PrivacyArguments) -> Result<()> {
    let rule = |flag: &str, value: f64, holds: bool, rule: &str| match holds {
        true => Ok(()),
        false => Err(usage(format!("`{flag} {}`: must be {rule}", short(value)))),
    };
    let noise = arguments.noise_multiplier.unwrap_or(0.0);
    rule("--noise-multiplier", noise, noise >= 0.0 && noise.is_finite(), "a finite number of at least 0")?;
    let target = arguments.target_epsilon.unwrap_or(1.0);
    rule("--target-epsilon", target, target > 0.0 && target.is_finite(), "a finite number above 0")?;
    let rate = arguments.sampling_rate;
    rule("--sampling-rate", rate, rate > 0.0 && rate <= 1.0, "above 0 and at most 1")?;
    let delta = arguments.delta;
    rule("--delta", delta, delta > 0.0 && delta < 1.0, "above 0 and below 1")
}

/// A fixed cohort is as large as the one that a run would draw.
fn sampling(arguments: &PrivacyArguments) -> Result<Sampling> {
    let rate = arguments.sampling_rate;
    match (arguments.sampling, arguments.population) {
        (CohortName::Poisson, None) => Ok(Sampling::Poisson { rate }),
        (CohortName::Poisson, Some(population)) => Err(usage(format!(
            "`--population {population}`: Poisson cohorts do not depend on it; leave it out, or say `--sampling fixed`"
        ))),
        (CohortName::Fixed, Some(0)) => Err(usage("`--population 0`: must be at least 1".into())),
        (CohortName::Fixed, Some(population)) => {
            Ok(Sampling::Fixed { cohort: cohort_size(rate, population), population })
        }
        (CohortName::Fixed, None) => {
            Err(usage("`--sampling fixed`: of how many clients is a cohort drawn? add `--population N`".into()))
        }
    }
}

fn usage(message: String) -> anyhow::Error {
    Fault::new(Kind::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::arguments::{Arguments, Command},
        error::exit_code,
    };
    use clap::Parser;

    fn asked(line: &str) -> Result<Answer> {
        let words = ["colla-host", "privacy"].into_iter().chain(line.split_whitespace());
        match Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).into_command() {
            Command::Privacy(arguments) => Answer::of(&arguments),
            _ => panic!("{line} asks for something else"),
        }
    }

    const ROUNDS: &str = "--sampling-rate 0.01 --rounds 1000 --delta 1e-5";

    #[test]
    fn the_accountants_answers_are_told_to_people_and_to_programs() {
        // 2.1014 and 1.8282 are dp-accounting's, 3.5761 for a fixed cohort.
        for (more, expected) in
            [("", 2.101_366_5), ("--accountant pld", 1.828_243_6), ("--sampling fixed --population 10000", 3.576_111_5)]
        {
            let answer = asked(&format!("--noise-multiplier 1 {ROUNDS} {more}")).unwrap();
            assert!((answer.epsilon / expected - 1.0).abs() < 0.005, "{more}: {}", answer.epsilon);
        }
        let answer = asked(&format!("--noise-multiplier 1 {ROUNDS} --sampling fixed --population 5000")).unwrap();
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(
            (&json["cohort"], &json["adjacency"], &json["q"]),
            (&50.into(), &"replace-one".into(), &0.01.into())
        );
        let text = answer.to_text();
        for part in ["replace-one", "50 of 5,000 clients without replacement", "accountant        rdp"] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
        assert!(
            asked(&format!("--noise-multiplier 0 {ROUNDS}")).unwrap().to_text().starts_with("epsilon           inf\n")
        );
    }

    #[test]
    fn the_noise_for_an_epsilon_is_the_inverse() {
        let answer = asked(&format!("--target-epsilon 3 {ROUNDS}")).unwrap();
        assert!(answer.epsilon <= 3.0 && answer.epsilon > 2.99, "{answer:?}");
        let again = asked(&format!("--noise-multiplier {} {ROUNDS}", answer.noise_multiplier)).unwrap();
        assert_eq!(again, answer);
    }

    #[test]
    fn answers_that_are_not_what_they_seem_have_a_note_and_small_ones_an_exponent() {
        let note = |line: &str| {
            let answer = asked(&format!("{line} {ROUNDS}")).unwrap();
            assert_eq!(answer.to_text().contains("Note: "), answer.note.is_some(), "{}", answer.to_text());
            answer.note.unwrap_or_default()
        };
        let least = "less noise would do for an epsilon of 1e300; no smaller multiplier is looked at";
        assert_eq!(note("--target-epsilon 1e300"), least);
        assert!(note("--noise-multiplier 0.01 --accountant pld").ends_with("`--accountant rdp` has one"));
        for plain in ["--target-epsilon 3", "--noise-multiplier 0.00390625", "--noise-multiplier 0"] {
            assert_eq!(note(plain), "", "{plain}");
        }
        let little = asked("--noise-multiplier 1e7 --sampling-rate 1e-7 --rounds 1 --delta 0.5").unwrap();
        let text = Answer { epsilon: 1.25e-7, ..little }.to_text();
        for part in ["epsilon           1.250000e-7\n", "multiplier  10000000\n", "probability 1e-7;"] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
        let error = asked("--noise-multiplier 1e-300 --sampling-rate 1e300 --rounds 1 --delta 0.5").unwrap_err();
        assert_eq!(error.to_string(), "`--sampling-rate 1e300`: must be above 0 and at most 1");
    }

    #[test]
    fn what_cannot_be_asked_is_a_usage_error() {
        for (line, words) in [
            ("--noise-multiplier -1", "`--noise-multiplier -1`: must be"),
            ("--target-epsilon 0", "`--target-epsilon 0`: must be a finite number above 0"),
            ("--noise-multiplier 1 --population 7", "`--population 7`: Poisson cohorts do not depend on it"),
            ("--noise-multiplier 1 --sampling fixed", "add `--population N`"),
            ("--noise-multiplier 1 --sampling fixed --population 0", "`--population 0`: must be at least 1"),
            (
                "--noise-multiplier 1 --sampling fixed --population 9 --accountant pld",
                "`--accountant pld`: no pair of data sets",
            ),
        ] {
            let error = asked(&format!("{line} {ROUNDS}")).unwrap_err();
            assert!(error.to_string().contains(words), "{line}: {error}");
            assert_eq!(exit_code(&error), 2);
        }
        let error = asked("--noise-multiplier 1 --sampling-rate 0 --rounds 1 --delta 1e-5").unwrap_err();
        assert_eq!(error.to_string(), "`--sampling-rate 0`: must be above 0 and at most 1");
        let error = asked("--noise-multiplier 1 --sampling-rate 0.1 --rounds 1 --delta 1").unwrap_err();
        assert_eq!(error.to_string(), "`--delta 1`: must be above 0 and below 1");
        let line =
            |more: &str| Arguments::try_parse_from(format!("colla-host privacy {ROUNDS} {more}").split_whitespace());
        assert!(line("").is_err() && line("--noise-multiplier 1 --target-epsilon 1").is_err());
    }
}
