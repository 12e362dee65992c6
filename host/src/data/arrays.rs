//! Data sets from arrays in memory: the way in for a caller's own data, and the last check of every loader.
//!
//! Where in the flow: the end of loading. What it never does: change a value; it checks and computes the fingerprint.

use super::{Dataset, Examples, Features};
use crate::error::{Fault, Kind};
use anyhow::Result;

/// How a byte becomes a feature: `value · scale + shift` in `f32`. `scale = 1/255`, `shift = 0` maps pixels to [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelScale {
    pub scale: f32,
    pub shift: f32,
}

impl Dataset {
    /// A data set from `f32` features and labels that the caller holds.
    ///
    /// Shapes: features are row-major, `rows × product(sample_shape)`; one label per row, in `0..num_classes`.
    /// Errors: `Kind::Data` if a part is empty, a length does not fit, a label is out of range or a feature is not
    /// finite; the message names the part, the row and both values.
    ///
    /// ```
    /// use colla::data::Dataset;
    /// // Three training rows and one test row of two features; classes 0 and 1.
    /// let train = (vec![0.0, 0.1, 0.9, 1.0, 0.8, 0.7], vec![0, 1, 1]);
    /// let test = (vec![0.2, 0.1], vec![0]);
    /// let data = Dataset::from_arrays("mine", vec![2], 2, train, test)?;
    /// assert_eq!(data.train.len(), 3);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn from_arrays(
        name: impl Into<String>,
        sample_shape: Vec<usize>,
        num_classes: usize,
        train: (Vec<f32>, Vec<u32>),
        test: (Vec<f32>, Vec<u32>),
    ) -> Result<Dataset> {
        let [train, test] =
            [train, test].map(|(values, labels)| Examples { features: Features::F32(values), labels, clients: None });
        Dataset {
            name: name.into(),
            train,
            test,
            sample_shape,
            num_classes,
            client_names: Vec::new(),
            fingerprint: [0; 32],
        }
        .checked()
    }

    /// The same from bytes, which stay bytes until the batch: a quarter of the memory.
    ///
    /// Shapes and errors as in [`Dataset::from_arrays`]; `scale` and `shift` must be finite.
    pub fn from_bytes(
        name: impl Into<String>,
        sample_shape: Vec<usize>,
        num_classes: usize,
        pixels: PixelScale,
        train: (Vec<u8>, Vec<u32>),
        test: (Vec<u8>, Vec<u32>),
    ) -> Result<Dataset> {
        let PixelScale { scale, shift } = pixels;
        let [train, test] = [train, test].map(|(values, labels)| Examples {
            features: Features::U8 { values, scale, shift },
            labels,
            clients: None,
        });
        Dataset {
            name: name.into(),
            train,
            test,
            sample_shape,
            num_classes,
            client_names: Vec::new(),
            fingerprint: [0; 32],
        }
        .checked()
    }

    /// Gives the rows to natural clients, for the partition kind `natural`.
    ///
    /// `train` names the client of each training row as an index into `names`; `test` does so for the test rows, or
    /// is `None` if test rows belong to nobody. Clients without training rows must stand last in `names`.
    /// Errors: `Kind::Data` if a length or an index does not fit.
    pub fn with_clients(mut self, names: Vec<String>, train: Vec<u32>, test: Option<Vec<u32>>) -> Result<Dataset> {
        self.client_names = names;
        self.train.clients = Some(train);
        self.test.clients = test;
        self.checked()
    }

    /// Checks every promise that the types cannot make and sets the fingerprint.
    pub(super) fn checked(mut self) -> Result<Dataset> {
        let name = &self.name;
        let Some(width) = self.sample_shape.iter().try_fold(1usize, |all, &d| all.checked_mul(d)).filter(|&w| w > 0)
        else {
            return Err(fault(format!("data `{name}`: sample shape {:?} holds no feature", self.sample_shape)));
        };
        if self.num_classes < 2 {
            return Err(fault(format!(
                "data `{name}`: {} class, but classification needs at least 2",
                self.num_classes
            )));
        }
        for (part, examples) in [("training", &self.train), ("test", &self.test)] {
            self.check_part(part, examples, width)?;
        }
        self.fingerprint = self.hash();
        Ok(self)
    }

    fn check_part(&self, part: &str, examples: &Examples, width: usize) -> Result<()> {
        let whose = format!("data `{}`, {part} set", self.name);
        let rows = examples.len();
        if rows == 0 {
            return Err(fault(format!("{whose}: it has no rows")));
        }
        if u32::try_from(rows).is_err() {
            return Err(fault(format!("{whose}: {rows} rows, but row numbers end at {}", u32::MAX)));
        }
        let values = match &examples.features {
            Features::U8 { values, .. } => values.len(),
            Features::F32(values) => values.len(),
        };
        if rows.checked_mul(width) != Some(values) {
            return Err(fault(format!("{whose}: {values} feature values, but {rows} labels of {width} features each")));
        }
        if let Some(row) = examples.labels.iter().position(|&label| label as usize >= self.num_classes) {
            let (label, last) = (examples.labels[row], self.num_classes - 1);
            return Err(fault(format!("{whose}, row {row}: label {label} is outside 0..={last}")));
        }
        match &examples.features {
            Features::U8 { scale, shift, .. } if !(scale.is_finite() && shift.is_finite()) => {
                return Err(fault(format!("{whose}: pixel scale {scale} and shift {shift} must be finite")));
            }
            Features::F32(values) => {
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    let (row, feature) = (at / width, at % width);
                    return Err(fault(format!("{whose}, row {row}, feature {feature}: {} is not finite", values[at])));
                }
            }
            Features::U8 { .. } => {}
        }
        self.check_clients(&whose, examples)
    }

    fn check_clients(&self, whose: &str, examples: &Examples) -> Result<()> {
        let Some(clients) = &examples.clients else { return Ok(()) };
        if clients.len() != examples.len() {
            let (clients, rows) = (clients.len(), examples.len());
            return Err(fault(format!("{whose}: clients are given for {clients} rows, but there are {rows}")));
        }
        if let Some(row) = clients.iter().position(|&client| client as usize >= self.client_names.len()) {
            let (client, names) = (clients[row], self.client_names.len());
            return Err(fault(format!("{whose}, row {row}: client {client}, but there are {names} client names")));
        }
        Ok(())
    }

    /// BLAKE3 over a tag and length before each array, so that no two data sets share a byte string.
    fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut field = |tag: &[u8; 4], bytes: &[u8]| {
            hasher.update(tag);
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        let shape: Vec<u8> = self.sample_shape.iter().flat_map(|&d| (d as u64).to_le_bytes()).collect();
        field(b"shap", &shape);
        field(b"clas", &(self.num_classes as u64).to_le_bytes());
        for name in &self.client_names {
            field(b"name", name.as_bytes());
        }
        for examples in [&self.train, &self.test] {
            match &examples.features {
                Features::U8 { values, scale, shift } => {
                    field(b"affi", bytemuck::cast_slice(&[*scale, *shift]));
                    field(b"byte", values);
                }
                Features::F32(values) => field(b"real", bytemuck::cast_slice(values)),
            }
            field(b"labl", bytemuck::cast_slice(&examples.labels));
            if let Some(clients) = &examples.clients {
                field(b"clnt", bytemuck::cast_slice(clients));
            }
        }
        *hasher.finalize().as_bytes()
    }
}

fn fault(message: String) -> anyhow::Error {
    Fault::new(Kind::Data, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_rows(values: Vec<f32>, labels: Vec<u32>) -> Result<Dataset> {
        Dataset::from_arrays("mine", vec![2], 2, (values, labels), (vec![0.0, 1.0], vec![1]))
    }

    #[track_caller]
    fn check(result: Result<Dataset>, expected: &str) {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }

    #[test]
    fn arrays_that_do_not_fit_are_refused_with_both_values() {
        check(two_rows(vec![], vec![]), "data `mine`, training set: it has no rows");
        check(
            two_rows(vec![0.0; 3], vec![0, 1]),
            "data `mine`, training set: 3 feature values, but 2 labels of 2 features each",
        );
        check(two_rows(vec![0.0; 4], vec![0, 2]), "data `mine`, training set, row 1: label 2 is outside 0..=1");
        check(
            two_rows(vec![0.0, 1.0, f32::NAN, 0.0], vec![0, 1]),
            "data `mine`, training set, row 1, feature 0: NaN is not finite",
        );
        check(
            Dataset::from_arrays("mine", vec![0], 2, (vec![], vec![0]), (vec![], vec![0])),
            "data `mine`: sample shape [0] holds no feature",
        );
        check(
            Dataset::from_arrays("mine", vec![usize::MAX, 2], 2, (vec![], vec![0]), (vec![], vec![0])),
            &format!("data `mine`: sample shape [{}, 2] holds no feature", usize::MAX),
        );
        check(
            Dataset::from_arrays("mine", vec![1], 1, (vec![1.0], vec![0]), (vec![1.0], vec![0])),
            "data `mine`: 1 class, but classification needs at least 2",
        );
    }

    #[test]
    fn clients_that_do_not_fit_are_refused() {
        let data = || two_rows(vec![0.0; 4], vec![0, 1]).unwrap();
        let names = || vec!["a".to_string(), "b".to_string()];
        check(
            data().with_clients(names(), vec![0], None),
            "data `mine`, training set: clients are given for 1 rows, but there are 2",
        );
        check(
            data().with_clients(names(), vec![0, 1], Some(vec![2])),
            "data `mine`, test set, row 0: client 2, but there are 2 client names",
        );
    }

    #[test]
    fn the_fingerprint_changes_with_every_part_and_with_nothing_else() {
        let data = two_rows(vec![0.0; 4], vec![0, 1]).unwrap();
        assert_eq!(data.fingerprint, two_rows(vec![0.0; 4], vec![0, 1]).unwrap().fingerprint);
        let others = [
            two_rows(vec![0.0, 0.0, 0.0, 1.0], vec![0, 1]).unwrap(),
            two_rows(vec![0.0; 4], vec![1, 1]).unwrap(),
            data.clone().with_clients(vec!["a".into(), "b".into()], vec![0, 1], None).unwrap(),
            data.clone().with_clients(vec!["a".into(), "c".into()], vec![0, 1], None).unwrap(),
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(data.fingerprint, other.fingerprint, "case {i}");
        }
    }

    #[test]
    fn bytes_are_scaled_when_they_are_gathered() {
        let pixels = PixelScale { scale: 0.5, shift: -1.0 };
        let data =
            Dataset::from_bytes("mine", vec![2], 2, pixels, (vec![0, 2, 4, 6], vec![0, 1]), (vec![0, 0], vec![0]));
        let mut out = [0.0; 4];
        data.unwrap().train.features.gather(&[1, 0], 2, &mut out);
        assert_eq!(out, [1.0, 2.0, -1.0, 0.0]);
    }
}
