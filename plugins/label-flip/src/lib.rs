//! Label flipping: hostile clients train honestly, on wrong labels. What they send is an ordinary update.
//!
//! `flip = reverse`, the default: y → C − 1 − y for the classes 0..C (Fang et al., USENIX Security 2020, arXiv:1911.11815,
//! section 5.1; ByzFL). With an odd number of classes the middle one stays. `flip = targeted`: the rows of the class
//! `source` are taken for `target`, all others stay (Tolpekin et al., ESORICS 2020, arXiv:2007.08432, section 3).
//!
//! The labels are those of all that the client trains and measures itself in a round: phases and losses of other plugins
//! included, as if its data were so labelled. What evaluates clients on their own rows sees the true ones.
//! Memory and wire: nothing.

use colla_plugin_sdk::{Attack, AttackBegin, Error, Parameters, Plan, Plugin, Result, Term, colla_plugin};

struct LabelFlip {
    /// Source and target; `None` reverses all labels.
    targeted: Option<(u64, u64)>,
}

impl Plugin for LabelFlip {
    fn create(parameters: &Parameters) -> Result<Self> {
        let targeted = parameters.choice("flip")? == "targeted";
        let classes = (parameters.i64("source")? as u64, parameters.i64("target")? as u64);
        Ok(LabelFlip { targeted: targeted.then_some(classes) })
    }
}

impl Attack for LabelFlip {
    fn plan(&mut self, client: &AttackBegin) -> Result<Plan> {
        let classes = client.num_classes;
        let Some((source, target)) = self.targeted else {
            return Ok(Plan::with_terms([Term::relabel(classes, |label| classes - 1 - label)]));
        };
        if source.max(target) >= classes || source == target {
            return Err(Error::config(format!(
                "`source = {source}` and `target = {target}`; they must be two different classes below {classes}"
            )));
        }
        Ok(Plan::with_terms([Term::relabel(classes, |label| if label == source { target } else { label })]))
    }
}

colla_plugin!(LabelFlip: attack);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::Value;
    use colla_plugin_sdk::testing::Testbed;

    /// What each of so many classes is taken for.
    fn flipped(parameters: &[(&str, Value)], classes: u64) -> Result<Vec<u64>> {
        Testbed::<LabelFlip>::new(parameters).relabel(classes)
    }

    fn targeted(source: i64, target: i64) -> [(&'static str, Value); 3] {
        [("flip", "targeted".into()), ("source", source.into()), ("target", target.into())]
    }

    #[test]
    fn all_labels_are_reversed() {
        assert_eq!(flipped(&[], 2).unwrap(), [1, 0]);
        assert_eq!(flipped(&[], 5).unwrap(), [4, 3, 2, 1, 0]);
    }

    #[test]
    fn flipped_twice_they_are_as_they_were() {
        for classes in [2, 3, 10, 1000] {
            let once = flipped(&[], classes).unwrap();
            assert!((0..classes).all(|label| once[once[label as usize] as usize] == label), "{classes}");
        }
    }

    #[test]
    fn one_class_is_taken_for_another() {
        assert_eq!(flipped(&targeted(1, 3), 4).unwrap(), [0, 3, 2, 3]);
        assert_eq!(flipped(&targeted(1, 0), 2).unwrap(), [0, 0]);
    }

    #[test]
    fn classes_that_there_are_not_are_refused_with_their_number() {
        for (source, target) in [(2, 0), (0, 2), (1, 1)] {
            let refused = flipped(&targeted(source, target), 2).unwrap_err().message;
            let words =
                format!("`source = {source}` and `target = {target}`; they must be two different classes below 2");
            assert_eq!(refused, words);
        }
    }
}
