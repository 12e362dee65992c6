//! Defaults that depend on other values, written out so that the stored configuration shows them.

use super::{Config, Model, ModelName, Partition, PartitionKind};

/// The data set of a configuration that names none.
const DATA: &str = "optdigits";

impl Config {
    /// Fills in what is used but was not given. Nothing is changed that was.
    pub fn resolve(&mut self) {
        if self.data.name.is_none() && self.data.path.is_none() {
            self.data.name = Some(DATA.into());
        }
        self.partition.resolve();
        self.model.resolve();
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
    fn what_was_given_stays() {
        let mut config = Config::default();
        (config.data.path, config.partition.alpha) = (Some("x.csv".into()), Some(3.0));
        config.model.hidden = Some(vec![8]);
        let before = config.clone();
        config.resolve();
        assert_eq!(config, before);
    }
}
