//! Laws of all kinds, the published sizes and statistics, settings that are refused.

use super::*;
use crate::config::{Data, Partition as Config};
use crate::error::exit_code;

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
    let data = crate::data::load(&Data { path: Some(folder), ..Default::default() }).unwrap();
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
            assert!(partition.train.is_sound(100, data.train.len()), "{kind:?}, seed {seed}");
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
fn iid_blocks_differ_by_one_row_and_the_larger_come_first() {
    let partition = create(&Config { num_clients: 7, ..of_kind(PartitionKind::Iid) }, &even(60_000, 10)).unwrap();
    assert_eq!(partition.sizes(), [8572, 8572, 8572, 8571, 8571, 8571, 8571]);
}

#[test]
fn mcmahans_shards_on_mnist_have_one_to_four_labels() {
    let Some(data) = mnist() else { return };
    let settings = Settings::resolve(&of_kind(PartitionKind::Shards), &data).unwrap();
    let by_class = Task { settings: &settings, data: &data }.rows_by_class();
    let shards = by_class.rows().chunks_exact(300);
    let label = |row: Option<&u32>| data.train.labels[*row.unwrap() as usize];
    assert_eq!(shards.clone().count(), 200);
    assert_eq!(shards.filter(|shard| label(shard.first()) != label(shard.last())).count(), 9);

    for seed in 0..5 {
        let partition = create(&Config { seed, ..of_kind(PartitionKind::Shards) }, &data).unwrap();
        assert_eq!(partition.sizes(), [600; 100]);
        let classes = classes_of_clients(&partition, &data);
        assert!(classes.iter().all(|n| (1..=4).contains(n)), "seed {seed}: {classes:?}");
        assert!(classes.iter().filter(|&&n| n == 2).count() > 60, "seed {seed}: {classes:?}");
    }
}

#[test]
fn dirichlet_shares_have_the_moments_of_the_distribution() {
    // Mean 1/K and variance (1/K)(1 − 1/K)/(Kα + 1): 0.1 and 0.015 for K = 10, α = 0.5.
    let data = even(40_000, 4);
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for seed in 0..300 {
        let config = Config { num_clients: 10, alpha: Some(0.5), seed, ..of_kind(PartitionKind::Dirichlet) };
        for n in create(&config, &data).unwrap().class_counts(&data).concat() {
            let share = f64::from(n) / 10_000.0;
            (sum, squares, count) = (sum + share, squares + share * share, count + 1.0);
        }
    }
    let mean = sum / count;
    let variance = squares / count - mean * mean;
    assert!((mean - 0.1).abs() < 1e-9, "mean {mean}");
    // 12,000 shares; the relative standard error of the variance is about 2 %.
    assert!((variance - 0.015).abs() < 0.0012, "variance {variance}");
}

/// One draw in fourteen or so leaves nobody empty here (seed after seed the same law), so a thousand never fail.
#[test]
fn the_default_split_of_optdigits_succeeds_for_every_seed() {
    let data = optdigits();
    for seed in 0..200 {
        let partition = create(&Config { seed, ..Default::default() }, &data).unwrap();
        assert_eq!((partition.num_clients(), partition.train.rows().len()), (100, 3_823), "seed {seed}");
    }
}

#[test]
fn the_largest_minimum_that_the_error_names_is_feasible() {
    let data = optdigits();
    let config =
        |min_partition_size| Config { min_partition_size, alpha: Some(1.0), ..of_kind(PartitionKind::Dirichlet) };
    let error = create(&config(38), &data).unwrap_err();
    assert_eq!(exit_code(&error), 3);
    let message = error.to_string();
    let start = "config `partition.min-partition-size = 38`: 1000 draws of kind `dirichlet`, 100 clients on the 3823 rows \
                 of `optdigits` failed: the smallest client had ";
    let best = message.strip_prefix(start).and_then(|rest| rest.split(' ').next()?.parse().ok());
    let best: usize = best.unwrap_or_else(|| panic!("{message}"));
    assert!(
        message.ends_with(&format!("use a value up to {best}, or a larger `alpha`, or fewer clients")),
        "{message}"
    );
    assert!(create(&config(best), &data).unwrap().sizes().iter().all(|&size| size >= best));
    assert!(create(&config(best + 1), &data).is_err());
}

#[test]
fn a_draw_that_always_leaves_somebody_empty_says_so() {
    let data = crate::data::load(&Data { name: Some("heart-disease".into()), ..Default::default() }).unwrap();
    assert_eq!(
        create(&Config::default(), &data).unwrap_err().to_string(),
        "config `partition.min-partition-size = 1`: 1000 draws of kind `dirichlet`, 100 clients on the 486 rows of \
         `heart-disease` failed: some client stayed empty in each; use a larger `alpha`, or fewer clients, or \
         `kind = \"natural\"`, as this data has its own clients"
    );
}

#[test]
fn hsus_clients_have_equal_sizes_and_mixtures_that_narrow_with_alpha() {
    let data = even(50_000, 10);
    let largest_share = |alpha| {
        let partition = create(&Config { alpha: Some(alpha), ..of_kind(PartitionKind::DirichletHsu) }, &data).unwrap();
        assert_eq!(partition.sizes(), [500; 100]);
        let shares = partition.class_counts(&data).into_iter().map(|c| f64::from(c.into_iter().max().unwrap()) / 500.0);
        shares.sum::<f64>() / 100.0
    };
    let shares = [1e-6, 0.1, 1.0, 10.0, 1e4].map(largest_share);
    assert!(shares.windows(2).all(|w| w[0] > w[1]), "{shares:?}");
    assert!(shares[0] > 0.95, "one class each, but for what is exhausted: {shares:?}");
    // Multinomial(500, 1/10): the largest of ten counts is about 50 + 1.5·6.7.
    assert!((shares[4] - 0.12).abs() < 0.01, "{shares:?}");
}

#[test]
fn pathological_clients_hold_exactly_their_number_of_classes() {
    let data = optdigits();
    for kind in [PartitionKind::Pathological, PartitionKind::PathologicalLognormal] {
        for classes in [1, 2, 5, 10] {
            let config = Config { classes_per_client: Some(classes), ..of_kind(kind) };
            let partition = create(&config, &data).unwrap();
            assert_eq!(classes_of_clients(&partition, &data), [classes; 100], "{kind:?}");
        }
    }
}

#[test]
fn lognormal_clients_differ_in_size_and_not_in_classes() {
    let data = even(100_000, 10);
    let config = Config { num_clients: 50, sigma: Some(1.0), ..of_kind(PartitionKind::Lognormal) };
    let partition = create(&config, &data).unwrap();
    let sizes = partition.sizes();
    let logs: Vec<f64> = sizes.iter().map(|&n| libm::log(n as f64)).collect();
    let mean = logs.iter().sum::<f64>() / 50.0;
    let sd = (logs.iter().map(|l| (l - mean) * (l - mean)).sum::<f64>() / 49.0).sqrt();
    // Standard error of a standard deviation from 50 values: 10 %.
    assert!((sd - 1.0).abs() < 0.4, "sd {sd}");
    let (largest, &n) = sizes.iter().enumerate().max_by_key(|(_, n)| **n).unwrap();
    let counts = &partition.class_counts(&data)[largest];
    assert!(counts.iter().all(|&c| (f64::from(c) / n as f64 - 0.1).abs() < 0.02), "{counts:?} of {n}");
    let equal =
        create(&Config { num_clients: 7, sigma: Some(0.0), ..of_kind(PartitionKind::Lognormal) }, &data).unwrap();
    assert!(equal.sizes().iter().all(|n| (14_285..=14_287).contains(n)), "{:?}", equal.sizes());
}

/// On the 70,000 images: 69,035 rows in total, mean 69, standard deviation 106 per client, as published with FedProx.
#[test]
fn the_power_law_split_of_mnist_has_the_published_statistics() {
    let Some(folder) = crate::data::shared_file("data/mnist") else { return };
    let images = crate::data::load(&Data { path: Some(folder), ..Default::default() }).unwrap();
    let data = labelled([images.train.labels, images.test.labels].concat(), 10);
    let (mut means, mut deviations) = (Vec::new(), Vec::new());
    for seed in 0..20 {
        let config = Config { num_clients: 1_000, seed, ..of_kind(PartitionKind::PowerLaw) };
        let partition = create(&config, &data).unwrap();
        let sizes = partition.sizes();
        assert!(sizes.iter().all(|&n| n >= 10) && classes_of_clients(&partition, &data).iter().all(|&n| n == 2));
        let mean = sizes.iter().sum::<usize>() as f64 / 1_000.0;
        let variance = sizes.iter().map(|&n| (n as f64 - mean) * (n as f64 - mean)).sum::<f64>() / 1_000.0;
        means.push(mean);
        deviations.push(variance.sqrt());
    }
    assert!(means.iter().all(|mean| (mean - 69.035).abs() < 0.15), "{means:?}");
    // The deviation of so heavy a tail varies by a third from seed to seed; the published one must lie among ours.
    let (low, high) =
        (deviations.iter().copied().fold(f64::MAX, f64::min), deviations.iter().copied().fold(0.0, f64::max));
    assert!(low < 106.0 && 106.0 < high && low > 60.0 && high < 300.0, "{deviations:?}");
}

#[test]
fn hospitals_are_clients_with_test_rows_of_their_own() {
    let data = crate::data::load(&Data { name: Some("heart-disease".into()), ..Default::default() }).unwrap();
    let partition = create(&of_kind(PartitionKind::Natural), &data).unwrap();
    assert_eq!(partition.sizes(), [199, 172, 30, 85]);
    let Some(OwnTest::OfTestSet(own)) = &partition.own_test else { panic!("{:?}", partition.own_test) };
    assert_eq!(own.sizes().collect::<Vec<_>>(), [104, 89, 16, 45]);
    for client in 0..4 {
        let test = data.test.clients.as_ref().unwrap();
        assert!(own.client(client).iter().all(|&row| test[row as usize] == client as u32));
    }
    // Another kind mixes the hospitals, whose test rows then belong to nobody.
    let mixed = create(&Config { num_clients: 4, ..of_kind(PartitionKind::Iid) }, &data).unwrap();
    assert_eq!(mixed.own_test, None);
}

#[test]
fn a_natural_client_without_test_rows_is_a_client_and_one_without_training_rows_is_none() {
    let data = labelled(vec![0, 1, 0], 2);
    let names = || vec!["a".to_string(), "b".to_string(), "c".to_string()];
    let data = data.with_clients(names(), vec![0, 1, 1], Some(vec![2])).unwrap();
    let partition = create(&of_kind(PartitionKind::Natural), &data).unwrap();
    assert_eq!((partition.sizes(), &partition.own_test), (vec![1, 2], &None));
    let data = data.with_clients(names(), vec![0, 2, 2], None).unwrap();
    check(
        &of_kind(PartitionKind::Natural),
        &data,
        "config `partition.min-partition-size = 1`: with kind `natural`, 3 clients on the 3 rows of `labels` the \
         smallest client has 0; use a value up to 0",
    );
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

#[track_caller]
fn check(config: &Config, data: &Dataset, expected: &str) {
    let error = create(config, data).unwrap_err();
    assert_eq!((error.to_string().as_str(), exit_code(&error)), (expected, 3));
}

#[test]
fn keys_that_the_kind_does_not_use_are_refused() {
    let data = even(1_000, 10);
    check(
        &Config { sigma: Some(1.0), ..of_kind(PartitionKind::Dirichlet) },
        &data,
        "config `partition.sigma`: kind `dirichlet` does not use it; leave it out; `dirichlet` uses `alpha`, \
         `num-clients`, `min-partition-size`, `test-fraction`, `seed`",
    );
    for (kind, keys) in METHODS.iter().map(|method| (method.kind, method.keys)) {
        let config = Config {
            alpha: (!keys.contains(&Key::Alpha)).then_some(0.5),
            shards_per_client: (!keys.contains(&Key::ShardsPerClient)).then_some(2),
            classes_per_client: (!keys.contains(&Key::ClassesPerClient)).then_some(2),
            sigma: (!keys.contains(&Key::Sigma)).then_some(1.0),
            ..of_kind(kind)
        };
        assert!(create(&config, &data).unwrap_err().to_string().contains("does not use it"), "{kind:?}");
    }
}

#[test]
fn every_kind_of_the_configuration_stands_in_the_table_under_its_own_name() {
    for method in METHODS {
        let text = format!("kind = \"{}\"", method.name);
        assert_eq!(toml::from_str::<Config>(&text).unwrap().kind, method.kind);
    }
    assert_eq!(METHODS.len(), ALL_KINDS.len() + 1);
}

#[test]
fn impossible_values_are_refused_with_what_is_possible() {
    let data = even(1_000, 10);
    let small = |config: Config| Config { num_clients: 10, ..config };
    for (alpha, shown) in [(0.0, "0"), (-1.0, "-1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let expected = format!("config `partition.alpha = {shown}`: use a value from 0.000001 to 1000000");
        check(&Config { alpha: Some(alpha), ..of_kind(PartitionKind::Dirichlet) }, &data, &expected);
    }
    check(
        &Config { sigma: Some(-0.5), ..of_kind(PartitionKind::Lognormal) },
        &data,
        "config `partition.sigma = -0.5`: use a value from 0 to 10",
    );
    for num_clients in [0, 1_001] {
        let expected = format!(
            "config `partition.num-clients = {num_clients}`: `labels` has 1000 training rows and every client needs one; \
             use a value from 1 to 1000"
        );
        check(&Config { num_clients, ..of_kind(PartitionKind::Iid) }, &data, &expected);
    }
    for min_partition_size in [0, 11] {
        let expected = format!(
            "config `partition.min-partition-size = {min_partition_size}`: 100 clients share the 1000 training rows of \
             `labels` and every client needs a row; use a value from 1 to 10"
        );
        check(&Config { min_partition_size, ..of_kind(PartitionKind::Iid) }, &data, &expected);
    }
    for test_fraction in [-0.1, 1.0, f64::NAN] {
        assert_eq!(exit_code(&create(&Config { test_fraction, ..of_kind(PartitionKind::Iid) }, &data).unwrap_err()), 3);
    }
    check(
        &small(Config { classes_per_client: Some(11), ..of_kind(PartitionKind::Pathological) }),
        &data,
        "config `partition.classes-per-client = 11`: `labels` has 10 classes; use a value from 1 to 10",
    );
    check(
        &small(Config { classes_per_client: Some(10), ..of_kind(PartitionKind::Pathological) }),
        &labelled((0..1_000).map(|row| row % 4).collect(), 10),
        "config `partition.classes-per-client = 10`: only 4 classes of `labels` have training rows; use a value from 1 to 4",
    );
    check(
        &small(Config { shards_per_client: Some(101), ..of_kind(PartitionKind::Shards) }),
        &data,
        "config `partition.shards-per-client = 101`: 10 clients share the 1000 training rows of `labels`; \
         use a value from 1 to 100",
    );
    check(
        &Config {
            min_partition_size: 15,
            shards_per_client: Some(14),
            num_clients: 64,
            ..of_kind(PartitionKind::Shards)
        },
        &data,
        "config `partition.min-partition-size = 15`: with kind `shards`, 64 clients on the 1000 rows of `labels` the \
         smallest client has 14; use a value up to 14",
    );
    check(
        &Config { num_clients: 500, classes_per_client: Some(10), ..of_kind(PartitionKind::Pathological) },
        &data,
        "config `partition`: with kind `pathological`, 500 clients on the 1000 rows of `labels` class 0 has 500 holders \
         that need 1 of its rows each, but it has 100 rows; use fewer clients or fewer classes per client",
    );
    check(
        &of_kind(PartitionKind::Natural),
        &data,
        "config `partition.kind = \"natural\"`: `labels` names no clients; give the column of a CSV file that does by \
         `data.client`, or choose another kind",
    );
}

#[test]
fn a_million_clients_are_partitioned_in_seconds() {
    let data = even(2_000_000, 10);
    for kind in [PartitionKind::Iid, PartitionKind::DirichletHsu, PartitionKind::Shards] {
        let config = Config { num_clients: 1_000_000, shards_per_client: None, ..of_kind(kind) };
        let start = std::time::Instant::now();
        let partition = create(&config, &data).unwrap();
        assert_eq!(partition.train.rows().len(), 2_000_000, "{kind:?}");
        eprintln!("{kind:?}: {:.2} s", start.elapsed().as_secs_f64());
        // A quadratic step would take hours; a loaded machine takes a few seconds.
        assert!(start.elapsed().as_secs() < 60, "{kind:?} took {:?}", start.elapsed());
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
