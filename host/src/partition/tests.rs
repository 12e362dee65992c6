//! Laws of all kinds; beside them the kinds' own statistics and the settings that are refused.

mod dealt;
mod refused;
mod statistics;

use super::*;
use crate::config::{Data, Partition as Config};

const ALL_KINDS: [PartitionKind; 9] = [
    PartitionKind::Iid,
    PartitionKind::Dirichlet,
    PartitionKind::DirichletHsu,
    PartitionKind::Shards,
    PartitionKind::Pathological,
    PartitionKind::Lognormal,
    PartitionKind::PathologicalLognormal,
    PartitionKind::DirichletLognormal,
    PartitionKind::PowerLaw,
];

const THAT_USE_EVERY_ROW: [PartitionKind; 5] = [
    PartitionKind::Iid,
    PartitionKind::Dirichlet,
    PartitionKind::DirichletHsu,
    PartitionKind::Lognormal,
    PartitionKind::DirichletLognormal,
];

fn of_kind(kind: PartitionKind) -> Config {
    Config { kind, ..Default::default() }
}

fn optdigits() -> Dataset {
    crate::data::load(&Data::default()).unwrap()
}

/// The real MNIST with one byte for each image, as only labels matter here; `None` where it is not at hand.
pub(super) fn mnist() -> Option<Dataset> {
    let folder = crate::data::shared_file("data/mnist")?;
    let data = crate::data::load(&Data { path: Some(folder), cache: crate::config::Cache::Off, ..Default::default() })
        .unwrap();
    Some(labelled(data.train.labels, 10))
}

fn labelled(labels: Vec<u32>, num_classes: usize) -> Dataset {
    let pixels = crate::data::PixelScale { scale: 1.0, shift: 0.0 };
    let train = (vec![0; labels.len()], labels);
    Dataset::from_bytes("labels", vec![1], num_classes, pixels, train, (vec![0], vec![0])).unwrap()
}

/// `rows` labels 0, 1, …, C − 1, 0, 1, …
fn even(rows: u32, num_classes: u32) -> Dataset {
    labelled((0..rows).map(|row| row % num_classes).collect(), num_classes as usize)
}

fn classes_of_clients(partition: &Partition, data: &Dataset) -> Vec<usize> {
    partition.class_counts(data).iter().map(|counts| counts.iter().filter(|&&n| n > 0).count()).collect()
}

#[test]
fn no_kind_gives_a_row_twice_and_some_use_every_row() {
    let data = optdigits();
    for kind in ALL_KINDS {
        for seed in 0..5 {
            let partition = create(&Config { seed, ..of_kind(kind) }, &data).unwrap();
            assert!(partition.train.is_sound(100, data.train.len(), false), "{kind:?}, seed {seed}");
            assert!(partition.train.sizes().all(|size| size > 0), "{kind:?}, seed {seed}");
            if THAT_USE_EVERY_ROW.contains(&kind) {
                assert_eq!(partition.train.rows().len(), data.train.len(), "{kind:?}, seed {seed}");
            }
        }
    }
}

#[test]
fn the_seed_alone_decides() {
    let data = optdigits();
    for kind in ALL_KINDS {
        let of_seed = |seed| create(&Config { seed, ..of_kind(kind) }, &data).unwrap();
        assert_eq!(of_seed(7), of_seed(7), "{kind:?}");
        assert_ne!(of_seed(7), of_seed(8), "{kind:?}");
    }
}

#[test]
fn a_clients_rows_are_not_grouped_by_class() {
    let data = even(4_000, 4);
    for kind in [PartitionKind::Iid, PartitionKind::Shards, PartitionKind::Pathological] {
        let partition = create(&Config { num_clients: 10, ..of_kind(kind) }, &data).unwrap();
        let rows = partition.train.client(0);
        let changes = rows.windows(2).filter(|w| data.train.labels[w[0] as usize] != data.train.labels[w[1] as usize]);
        // Two classes alike: half of some 400 neighbours differ; grouped rows would differ once.
        assert!(classes_of_clients(&partition, &data)[0] == 1 || changes.count() > 100, "{kind:?}");
    }
}

#[test]
fn a_test_fraction_is_held_out_in_every_client() {
    let data = even(1_000, 10);
    let whole = create(&Config { num_clients: 9, ..of_kind(PartitionKind::Iid) }, &data).unwrap();
    let config = Config { num_clients: 9, test_fraction: 0.1, ..of_kind(PartitionKind::Iid) };
    let partition = create(&config, &data).unwrap();
    let Some(OwnTest::HeldOut(held)) = &partition.own_test else { panic!("{:?}", partition.own_test) };
    for client in 0..9 {
        assert_eq!(held.client(client).len(), 11, "a tenth of 111 or 112 rows");
        let parts = [held.client(client), partition.train.client(client)].concat();
        assert_eq!(parts, whole.train.client(client));
    }
}

#[test]
fn the_summary_counts_sizes_classes_and_rows() {
    let data = labelled(vec![0, 1, 2, 0, 0, 1], 3);
    let partition = Partition { train: ClientRows::new([vec![0, 3, 4], vec![1], vec![2, 5]]), own_test: None };
    let summary = partition.summary(&Dataset { num_classes: 3, ..data.clone() });
    assert_eq!(summary.sizes, Spread { min: 1, median: 2.0, mean: 2.0, max: 3 });
    assert_eq!(summary.classes, Spread { min: 1, median: 1.0, mean: 4.0 / 3.0, max: 2 });
    assert_eq!(partition.class_counts(&data), [[3, 0, 0], [0, 1, 0], [0, 1, 1]]);
    let partition = Partition { train: ClientRows::new([vec![0, 3], vec![2]]), own_test: None };
    assert_eq!(
        partition.summary(&data).to_string(),
        "2 clients on 6 training rows\n\
         rows per client:     min 1, median 1.5, mean 1.5, max 2\n\
         classes per client:  min 1, median 1, mean 1.0, max 1\n\
         rows not used:       3"
    );
}
