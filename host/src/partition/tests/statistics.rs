//! Published or computed sizes and statistics of the kinds.

use super::*;

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

/// One draw in five leaves nobody empty here, so a thousand never fail together.
#[test]
fn the_default_split_of_optdigits_succeeds_for_every_seed() {
    let data = optdigits();
    for seed in 0..200 {
        let partition = create(&Config { seed, ..Default::default() }, &data).unwrap();
        assert_eq!((partition.num_clients(), partition.train.rows().len()), (100, 3_823), "seed {seed}");
    }
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
    // One class each, but for those whose class more clients want than it can serve.
    assert!(shares[0] > 0.8, "{shares:?}");
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

/// On the 70,000 images FedProx's README prints 69,035 rows in total and a deviation of 106 per client. Its generator,
/// run with NumPy on 2,000 seeds, gives that total, but deviations from 113 to 281: mean 168.8, 5 % below 132 and 5 %
/// above 219. The generator is what is held to here.
#[test]
fn the_power_law_split_of_mnist_has_the_published_statistics() {
    let Some(folder) = crate::data::shared_file("data/mnist") else { return };
    let images = crate::data::load(&Data { path: Some(folder), ..Default::default() }).unwrap();
    let data = labelled([images.train.labels, images.test.labels].concat(), 10);
    let (mut means, mut deviations) = (Vec::new(), Vec::new());
    for seed in 0..40 {
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
    // Standard error of the mean over 40 seeds: 27/√40 = 4.3.
    let mean = deviations.iter().sum::<f64>() / deviations.len() as f64;
    assert!((mean - 168.8).abs() < 15.0, "mean {mean} of {deviations:?}");
    assert!(deviations.iter().all(|sd| (105.0..300.0).contains(sd)), "{deviations:?}");
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
fn a_million_clients_are_partitioned_in_seconds() {
    let data = even(2_000_000, 10);
    for kind in [PartitionKind::Iid, PartitionKind::DirichletLognormal, PartitionKind::Shards] {
        let config = Config { num_clients: 1_000_000, shards_per_client: None, ..of_kind(kind) };
        let start = std::time::Instant::now();
        let partition = create(&config, &data).unwrap();
        assert_eq!(partition.train.rows().len(), 2_000_000, "{kind:?}");
        eprintln!("{kind:?}: {:.2} s", start.elapsed().as_secs_f64());
        // A quadratic step would take hours; a loaded machine takes a few seconds.
        assert!(start.elapsed().as_secs() < 60, "{kind:?} took {:?}", start.elapsed());
    }
}
