//! CSV files (`.csv`, `.csv.gz`): a header, numeric feature columns, a label column, and where the file has them a
//! split column (`train` / `test`) and a client column.
//!
//! Where in the flow: one of the loaders; the embedded sets are read through [`Table::read`] too. What it never does:
//! guess at a value. A missing or non-numeric feature is an error that names line, column and value.

mod fields;

use super::scaling::{ColumnScale, Deviation};
use super::{Dataset, Examples, Features};
use crate::config::{self, FeatureScaling};
use crate::error::{Fault, Kind, did_you_mean};
use crate::random::{Purpose, Stream};
use anyhow::Result;
use fields::{Cell, Names};
use std::io::Read;
use std::path::Path;

/// Seed of the random test set of a file without split column. It is fixed, so that every run and every partition
/// of the same file is measured on the same test rows.
const TEST_SPLIT_SEED: u64 = 42;

/// Reads the file that `[data]` names by `path`.
pub fn load(path: &Path, config: &config::Data) -> Result<Dataset> {
    let source = path.display().to_string();
    let file = super::source::open(path)?;
    let defaults = config::Data::default();
    let columns = Columns {
        label: &config.label,
        split: &config.split,
        split_required: config.split != defaults.split,
        client: config.client.as_deref(),
    };
    let table = Table::read(&source, file, &columns)?;
    table.into_dataset(&name(path), config)
}

/// What the data set of a file is called.
pub fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    name.trim_end_matches(".gz").trim_end_matches(".csv").into()
}

/// Which columns are not features.
pub struct Columns<'a> {
    pub label: &'a str,
    pub split: &'a str,
    pub split_required: bool,
    pub client: Option<&'a str>,
}

/// A whole file as numbers, in the order of its lines.
pub struct Table {
    source: String,
    pub feature_names: Vec<String>,
    /// Row-major, rows × features.
    pub features: Vec<f32>,
    /// Indices into `classes`.
    pub labels: Vec<u32>,
    /// Distinct labels, ascending: by value if all are integers, else as text.
    pub classes: Vec<String>,
    /// For each row whether it is a test row, where the file has a split column.
    pub is_test: Option<Vec<bool>>,
    /// Indices into `client_names`, where there is a client column.
    pub clients: Option<Vec<u32>>,
    pub client_names: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Feature,
    Label,
    Split,
    Client,
}

impl Table {
    /// Reads and checks everything. `source` is how errors call the file.
    ///
    /// Errors: `Kind::Config` for a column name that the header lacks, `Kind::Data` for everything in the file.
    pub fn read(source: &str, input: impl Read, columns: &Columns<'_>) -> Result<Table> {
        let mut reader = ::csv::ReaderBuilder::new().from_reader(input);
        let header = reader.headers().map_err(|error| reading(source, error))?.clone();
        let header: Vec<&str> = header.iter().map(str::trim).collect();
        check_header(source, &header)?;
        let roles = roles(source, &header, columns)?;

        let mut table = Table {
            source: source.into(),
            feature_names: header
                .iter()
                .zip(&roles)
                .filter(|(_, r)| **r == Role::Feature)
                .map(|(n, _)| n.to_string())
                .collect(),
            features: Vec::new(),
            labels: Vec::new(),
            classes: Vec::new(),
            is_test: roles.contains(&Role::Split).then(Vec::new),
            clients: roles.contains(&Role::Client).then(Vec::new),
            client_names: Vec::new(),
        };
        if table.feature_names.is_empty() {
            return Err(fault(source, "no column is left for the features"));
        }
        let (mut classes, mut clients) = (Names::default(), Names::default());
        let mut record = ::csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| reading(source, error))? {
            let line = record.position().map_or(0, |position| position.line());
            for ((field, &role), name) in record.iter().zip(&roles).zip(&header) {
                let cell = Cell { source, line, column: name, value: field.trim() };
                match role {
                    Role::Feature => table.features.push(cell.number()?),
                    Role::Label => table.labels.push(classes.index(&cell.class()?)),
                    Role::Split => table.is_test.get_or_insert_default().push(cell.is_test()?),
                    Role::Client => table.clients.get_or_insert_default().push(clients.index(cell.name()?)),
                }
            }
        }
        if table.labels.is_empty() {
            return Err(fault(source, "the header is followed by no rows"));
        }
        table.classes = classes.sort(&mut table.labels);
        table.client_names = clients.sort(table.clients.as_deref_mut().unwrap_or_default());
        Ok(table)
    }

    /// Index of a feature column.
    pub fn feature(&self, name: &str) -> Result<usize> {
        let found = self.feature_names.iter().position(|n| n == name);
        found.ok_or_else(|| fault(&self.source, format!("there is no column `{name}`")))
    }

    /// Row numbers of the training and of the test rows, each ascending.
    ///
    /// Without a split column a share `test_fraction` of the rows (rounded, at least one row on either side) is drawn
    /// at random with a fixed seed.
    pub fn split(&self, test_fraction: f64) -> Result<[Vec<usize>; 2]> {
        let rows = self.labels.len();
        let is_test = match &self.is_test {
            Some(is_test) => is_test.clone(),
            None => {
                if !(test_fraction > 0.0 && test_fraction < 1.0) {
                    let message = format!("config `data.test-fraction = {test_fraction}`: use a value between 0 and 1");
                    return Err(Fault::new(Kind::Config, message));
                }
                let count = ((test_fraction * rows as f64).round() as usize).clamp(1, rows.saturating_sub(1).max(1));
                let mut is_test = vec![false; rows];
                let mut stream = Stream::new(TEST_SPLIT_SEED, Purpose::TestSplit, 0, 0);
                stream.choose(rows as u64, count).iter().for_each(|&row| is_test[row as usize] = true);
                is_test
            }
        };
        let (test, train): (Vec<usize>, Vec<usize>) = (0..rows).partition(|&row| is_test[row]);
        for (part, part_rows) in [("training", &train), ("test", &test)] {
            if part_rows.is_empty() {
                return Err(fault(&self.source, format!("none of the {rows} rows is a {part} row")));
            }
        }
        Ok([train, test])
    }

    fn into_dataset(mut self, name: &str, config: &config::Data) -> Result<Dataset> {
        let [train, test] = self.split(config.test_fraction)?;
        let width = self.feature_names.len();
        let scale = match config.features {
            FeatureScaling::None => None,
            FeatureScaling::Scale => Some(ColumnScale::unit_range(&self.features, width, &train)),
            FeatureScaling::Standardize => {
                let population = Deviation { ddof: 0, epsilon: 0.0 };
                Some(ColumnScale::standard(&self.features, width, &train, population))
            }
        };
        if let Some(scale) = scale {
            scale.apply(&mut self.features, &train);
            scale.apply(&mut self.features, &test);
        }
        self.assemble(name, vec![width], &train, &test)
    }

    /// The data set of all feature columns, with natural clients where the table has them.
    pub fn assemble(mut self, name: &str, shape: Vec<usize>, train: &[usize], test: &[usize]) -> Result<Dataset> {
        self.trained_clients_first(train);
        let width = self.feature_names.len();
        let part = |rows: &[usize]| Examples {
            features: Features::F32(
                rows.iter().flat_map(|&row| &self.features[row * width..(row + 1) * width]).copied().collect(),
            ),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            clients: self.clients.as_ref().map(|clients| rows.iter().map(|&row| clients[row]).collect()),
        };
        Dataset {
            train: part(train),
            test: part(test),
            name: name.into(),
            sample_shape: shape,
            num_classes: self.classes.len(),
            client_names: self.client_names,
            fingerprint: [0; 32],
        }
        .checked()
    }

    /// Renumbers the clients so that those with training rows come first. Sets such as the vowels have speakers that
    /// occur in the test rows only; they are not clients, but their rows keep their names.
    fn trained_clients_first(&mut self, train: &[usize]) {
        let Some(clients) = &mut self.clients else { return };
        let mut trained = vec![false; self.client_names.len()];
        train.iter().for_each(|&row| trained[clients[row] as usize] = true);
        let mut order: Vec<usize> = (0..trained.len()).collect();
        order.sort_by_key(|&client| !trained[client]);
        let mut renumbered = vec![0; order.len()];
        order.iter().zip(0u32..).for_each(|(&old, new)| renumbered[old] = new);
        clients.iter_mut().for_each(|client| *client = renumbered[*client as usize]);
        self.client_names = order.into_iter().map(|old| std::mem::take(&mut self.client_names[old])).collect();
    }
}

fn check_header(source: &str, header: &[&str]) -> Result<()> {
    if header.iter().all(|name| name.is_empty() || name.parse::<f64>().is_ok()) {
        return Err(fault(source, "line 1: there is no header; the first line must name the columns"));
    }
    for (i, name) in header.iter().enumerate() {
        if header[..i].contains(name) {
            return Err(fault(source, format!("line 1: column `{name}` occurs twice")));
        }
    }
    Ok(())
}

fn roles(source: &str, header: &[&str], columns: &Columns<'_>) -> Result<Vec<Role>> {
    let mut roles = vec![Role::Feature; header.len()];
    let wanted = [
        ("label", Some(columns.label), true, Role::Label),
        ("split", Some(columns.split), columns.split_required, Role::Split),
        ("client", columns.client, true, Role::Client),
    ];
    for (key, name, required, role) in wanted {
        let Some(name) = name else { continue };
        match header.iter().position(|h| *h == name) {
            Some(at) if roles[at] != Role::Feature => {
                let message = format!("config `data.{key} = \"{name}\"`: this column already has another part to play");
                return Err(Fault::new(Kind::Config, message));
            }
            Some(at) => roles[at] = role,
            None if required => {
                let hint = did_you_mean(name, header.iter().copied());
                let message =
                    format!("config `data.{key} = \"{name}\"`: data file `{source}` has no such column{hint}");
                return Err(Fault::new(Kind::Config, message));
            }
            None => {}
        }
    }
    Ok(roles)
}

fn reading(source: &str, error: ::csv::Error) -> anyhow::Error {
    let line = error.position().map_or(0, |position| position.line());
    match error.kind() {
        ::csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            fault(source, format!("line {line}: {len} fields, but the header has {expected_len}"))
        }
        ::csv::ErrorKind::Utf8 { .. } => fault(source, format!("line {line}: this is not UTF-8 text")),
        _ => fault(source, format!("cannot be read: {error}")),
    }
}

fn fault(source: &str, message: impl std::fmt::Display) -> anyhow::Error {
    Fault::new(Kind::Data, format!("data file `{source}`: {message}"))
}

#[cfg(test)]
mod tests;
