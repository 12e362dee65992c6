//! Defaults that depend on other values, written out so that the stored configuration shows them.

use super::{Config, PartitionKind};

/// The data set of a configuration that names none.
const DATA: &str = "optdigits";

impl Config {
    /// Fills in what is used but was not given. Nothing is changed that was.
    pub fn resolve(&mut self) {
        if self.data.name.is_none() && self.data.path.is_none() {
            self.data.name = Some(DATA.into());
        }
        let partition = &mut self.partition;
        let (mut alpha, mut shards, mut classes, mut sigma) = (None, None, None, None);
        match partition.kind {
            PartitionKind::Iid | PartitionKind::Natural => {}
            PartitionKind::Dirichlet | PartitionKind::DirichletHsu => alpha = Some(0.1),
            PartitionKind::Shards => shards = Some(2),
            PartitionKind::Pathological => classes = Some(2),
            PartitionKind::Lognormal => sigma = Some(1.0),
            PartitionKind::PathologicalLognormal => (classes, sigma) = (Some(2), Some(1.0)),
            PartitionKind::DirichletLognormal => (alpha, sigma) = (Some(0.1), Some(1.0)),
            PartitionKind::PowerLaw => sigma = Some(2.0),
        }
        partition.alpha = partition.alpha.or(alpha);
        partition.shards_per_client = partition.shards_per_client.or(shards);
        partition.classes_per_client = partition.classes_per_client.or(classes);
        partition.sigma = partition.sigma.or(sigma);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{data, partition};

    #[test]
    fn what_is_filled_in_is_what_an_absent_value_means() {
        assert_eq!(DATA, data::EMBEDDED[0].name);
        let data = data::load(&Config::default().data).unwrap();
        for kind in ["iid", "dirichlet", "dirichlet-hsu", "shards", "pathological", "lognormal", "power-law"] {
            let mut config: Config =
                toml::from_str(&format!("[partition]\nkind = \"{kind}\"\nnum-clients = 20")).unwrap();
            let before = partition::create(&config.partition, &data).unwrap();
            config.resolve();
            assert_eq!(partition::create(&config.partition, &data).unwrap(), before, "{kind}");
        }
    }

    #[test]
    fn what_was_given_stays() {
        let mut config = Config::default();
        (config.data.path, config.partition.alpha) = (Some("x.csv".into()), Some(3.0));
        let before = config.clone();
        config.resolve();
        assert_eq!(config, before);
    }
}
