//! Defaults that depend on other values, written out so that the stored configuration shows them.

use super::{Config, Data, Evaluate, Model, ModelName, Partition, PartitionKind};

/// The data set of a configuration that names none.
const DATA: &str = "optdigits";
/// The data set that is drawn, which alone has sizes to set.
pub(super) const SYNTHETIC: &str = "synthetic";
/// So many clients are evaluated on their own rows unless the user wants more: of a million clients, all would take longer
/// than the training, and ten thousand give a spread to within half a percent.
const EVALUATED_CLIENTS: usize = 10_000;

impl Config {
    /// Fills in what is used but was not given. Nothing is changed that was.
    pub fn resolve(&mut self) {
        self.data.resolve();
        self.partition.resolve();
        self.model.resolve();
        // How many natural clients there are, only the data tell.
        if self.partition.kind != PartitionKind::Natural {
            self.evaluate.resolve(self.partition.num_clients);
        }
    }
}

impl Data {
    /// Fills in the data set and, where it is drawn, its size; the only place with their defaults.
    pub fn resolve(&mut self) {
        if self.name.is_none() && self.path.is_none() {
            self.name = Some(DATA.into());
        }
        if self.name.as_deref() == Some(SYNTHETIC) {
            self.num_rows.get_or_insert(60_000);
            self.num_test_rows.get_or_insert(10_000);
            self.num_features.get_or_insert(60);
            self.num_classes.get_or_insert(10);
            self.seed.get_or_insert(42);
        }
    }
}

impl Evaluate {
    /// Fills in the share of `num_clients` clients that are evaluated on their own rows.
    pub fn resolve(&mut self, num_clients: usize) {
        let most = EVALUATED_CLIENTS as f64 / num_clients.max(1) as f64;
        self.fraction_evaluate.get_or_insert(most.min(1.0));
    }
}

impl Model {
    /// Fills in the widths of an `mlp` that were not given; the only place with their default.
    pub fn resolve(&mut self) {
        if self.name == ModelName::Mlp {
            self.hidden.get_or_insert_with(|| vec![64]);
        }
    }
}

impl Partition {
    /// Fills in the keys that the kind uses and that were not given; the only place with their defaults.
    pub fn resolve(&mut self) {
        let (mut alpha, mut shards, mut classes, mut sigma) = (None, None, None, None);
        match self.kind {
            PartitionKind::Iid | PartitionKind::Natural => {}
            PartitionKind::Dirichlet | PartitionKind::DirichletHsu => alpha = Some(0.1),
            PartitionKind::Shards => shards = Some(2),
            PartitionKind::Pathological => classes = Some(2),
            PartitionKind::Lognormal => sigma = Some(1.0),
            PartitionKind::PathologicalLognormal => (classes, sigma) = (Some(2), Some(1.0)),
            PartitionKind::DirichletLognormal => (alpha, sigma) = (Some(0.1), Some(1.0)),
            PartitionKind::PowerLaw => sigma = Some(2.0),
        }
        self.alpha = self.alpha.or(alpha);
        self.shards_per_client = self.shards_per_client.or(shards);
        self.classes_per_client = self.classes_per_client.or(classes);
        self.sigma = self.sigma.or(sigma);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;

    #[test]
    fn the_data_set_that_is_filled_in_is_the_first_embedded_one() {
        assert_eq!(DATA, data::EMBEDDED[0].name);
        assert!(data::EMBEDDED.iter().any(|set| set.name == SYNTHETIC));
    }

    #[test]
    fn only_an_mlp_gets_hidden_layers() {
        for (name, hidden) in [(ModelName::Mlp, Some(vec![64])), (ModelName::Logistic, None), (ModelName::Cnn, None)] {
            let mut model = Model { name, ..Model::default() };
            model.resolve();
            assert_eq!(model.hidden, hidden, "{name:?}");
        }
    }

    #[test]
    fn only_what_is_drawn_gets_a_size() {
        let resolved = |text| Config::from_text(text, &[]).unwrap().data;
        assert_eq!(resolved("").num_rows, None);
        let synthetic = resolved("[data]\nname = \"synthetic\"\nnum-features = 5");
        assert_eq!((synthetic.num_rows, synthetic.num_features, synthetic.seed), (Some(60_000), Some(5), Some(42)));
    }

    #[test]
    fn ten_thousand_clients_are_evaluated_unless_more_are_wanted() {
        for (given, clients, share) in [(None, 10_000, 1.0), (None, 1_000_000, 0.01), (Some(1.0), 1_000_000, 1.0)] {
            let mut evaluate = Evaluate { fraction_evaluate: given, ..Evaluate::default() };
            evaluate.resolve(clients);
            assert_eq!(evaluate.fraction_evaluate, Some(share));
        }
    }

    #[test]
    fn what_was_given_stays() {
        let mut config = Config::default();
        (config.data.path, config.partition.alpha) = (Some("x.csv".into()), Some(3.0));
        config.model.hidden = Some(vec![8]);
        config.evaluate.fraction_evaluate = Some(0.5);
        let before = config.clone();
        config.resolve();
        assert_eq!(config, before);
    }
}
