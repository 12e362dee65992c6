//! Heart Disease (UCI data set 45, CC BY 4.0): 740 patients of four hospitals, 13 model inputs, sick or not.
//! Embedded in the program; see `host/data/README.md`.
//!
//! Where in the flow: one of the loaders; its four hospitals are natural clients. What it never does: touch the disk.

use super::Dataset;
use super::csv::{Columns, Table};
use super::scaling::{ColumnScale, Deviation};
use crate::config::FeatureScaling;
use anyhow::Result;

const FILE: &[u8] = include_bytes!("../../data/heart_disease.csv");

/// The model's inputs in FLamby's order: a column, or whether a column has one value (categories but the first).
const INPUTS: [(&str, Option<f32>); 13] = [
    ("age", None),
    ("sex", None),
    ("trestbps", None),
    ("chol", None),
    ("fbs", None),
    ("thalach", None),
    ("exang", None),
    ("oldpeak", None),
    ("cp", Some(2.0)),
    ("cp", Some(3.0)),
    ("cp", Some(4.0)),
    ("restecg", Some(1.0)),
    ("restecg", Some(2.0)),
];

/// FLamby's: divisor n − 1, and 1e-9 more.
const DEVIATION: Deviation = Deviation { ddof: 1, epsilon: 1e-9 };

/// Sample shape `[13]`, two classes, clients cleveland, hungarian, switzerland, va.
///
/// `scale`, the usual form: each input minus the mean, divided by (sd + 1e-9) of the training rows of that patient's
/// hospital, sd with divisor n − 1. `standardize`: the same over the training rows of all hospitals together.
/// `none`: the inputs as they are. Source: FLamby (NeurIPS 2022 data sets track), `fed_heart_disease`.
pub fn load(features: FeatureScaling) -> Result<Dataset> {
    let columns = Columns { label: "label", split: "split", split_required: true, client: Some("center") };
    let mut table = model_inputs(Table::read("heart_disease.csv", FILE, &columns)?)?;
    let [train, test] = table.split(0.5)?;
    let hospitals = table.clients.clone().unwrap_or_default();
    let groups: Vec<Option<u32>> = match features {
        FeatureScaling::None => Vec::new(),
        FeatureScaling::Scale => (0..table.client_names.len() as u32).map(Some).collect(),
        FeatureScaling::Standardize => vec![None],
    };
    for group in groups {
        let member = |row: &&usize| group.is_none_or(|hospital| hospitals[**row] == hospital);
        let train: Vec<usize> = train.iter().filter(member).copied().collect();
        let test: Vec<usize> = test.iter().filter(member).copied().collect();
        let scale = ColumnScale::standard(&table.features, INPUTS.len(), &train, DEVIATION);
        scale.apply(&mut table.features, &train);
        scale.apply(&mut table.features, &test);
    }
    table.assemble("heart-disease", vec![INPUTS.len()], &train, &test)
}

/// Replaces the file's columns by the 13 inputs.
fn model_inputs(mut table: Table) -> Result<Table> {
    let width = table.feature_names.len();
    let inputs = INPUTS.map(|(name, category)| table.feature(name).map(|column| (column, category)));
    let inputs = inputs.into_iter().collect::<Result<Vec<_>>>()?;
    let of_row = |row: &[f32]| -> Vec<f32> {
        let value = |&(column, category): &(usize, Option<f32>)| match category {
            None => row[column],
            Some(wanted) => f32::from(u8::from(row[column] == wanted)),
        };
        inputs.iter().map(value).collect()
    };
    table.features = table.features.chunks_exact(width).flat_map(of_row).collect();
    table.feature_names = INPUTS.map(|(name, category)| category.map_or(name.into(), |c| format!("{name}={c}"))).into();
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Features;

    fn count(clients: &Option<Vec<u32>>) -> [usize; 4] {
        let clients = clients.as_ref().unwrap();
        [0, 1, 2, 3].map(|hospital| clients.iter().filter(|&&c| c == hospital).count())
    }

    fn rows(features: &Features) -> &[f32] {
        match features {
            Features::F32(values) => values,
            Features::U8 { .. } => panic!("heart disease has real features"),
        }
    }

    #[test]
    fn the_hospitals_have_flambys_rows() {
        let data = load(FeatureScaling::Scale).unwrap();
        assert_eq!(data.client_names, ["cleveland", "hungarian", "switzerland", "va"]);
        assert_eq!(count(&data.train.clients), [199, 172, 30, 85]);
        assert_eq!(count(&data.test.clients), [104, 89, 16, 45]);
        assert_eq!((data.num_classes, data.sample_shape.as_slice()), (2, &[13][..]));
    }

    /// Computed apart from this code with Python's `statistics.stdev`: the first training row of two hospitals.
    #[test]
    fn inputs_are_normalised_by_their_hospitals_training_rows() {
        let data = load(FeatureScaling::Scale).unwrap();
        let first = [
            (
                0,
                [
                    0.96497, 0.6789, 0.70208, -0.31988, 2.41508, -0.03187, -0.67103, 1.13163, -0.39521, -0.63975,
                    -0.97273, -0.10051, 0.99248,
                ],
            ),
            (
                2,
                [
                    -2.01838, -2.94958, -1.25658, 0.0, -0.32773, 1.45626, -1.12432, -0.62676, -0.18257, -0.32773,
                    0.38564, -0.5424, -0.18257,
                ],
            ),
        ];
        for (hospital, expected) in first {
            let row = data.train.clients.as_ref().unwrap().iter().position(|&c| c == hospital).unwrap();
            for (value, wanted) in rows(&data.train.features)[row * 13..].iter().zip(expected) {
                assert!((f64::from(*value) - wanted).abs() < 1e-5, "hospital {hospital}: {value}, expected {wanted}");
            }
        }
    }

    #[test]
    fn pooled_standardising_gives_the_pooled_columns_mean_zero() {
        let data = load(FeatureScaling::Standardize).unwrap();
        for column in 0..13 {
            let values: Vec<f64> =
                rows(&data.train.features).iter().skip(column).step_by(13).map(|&v| v.into()).collect();
            let mean = values.iter().sum::<f64>() / 486.0;
            let variance = values.iter().map(|v| v * v).sum::<f64>() / 485.0;
            assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "column {column}: {mean}, {variance}");
        }
    }
}
