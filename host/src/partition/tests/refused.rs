//! Settings that cannot be met, and what the messages offer instead.

use super::*;
use crate::error::exit_code;

#[track_caller]
fn check(config: &Config, data: &Dataset, expected: &str) {
    let error = create(config, data).unwrap_err();
    assert_eq!((error.to_string().as_str(), exit_code(&error)), (expected, 3));
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
    assert!(message.contains(&format!("use a value up to {best}, or a larger `alpha`, or fewer clients")), "{message}");
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
         `kind = \"dirichlet-lognormal\"`, which leaves no client empty, or `kind = \"natural\"`, as this data has its own clients"
    );
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
