//! Which loader `[data]` asks for.
//!
//! Where in the flow: the entrance of loading. What it never does: parse; that is each form's own file.

use super::{Dataset, cache, csv, heart_disease, idx, optdigits, synthetic};
use crate::config::{self, DataFormat};
use crate::error::{Fault, Kind, did_you_mean};
use anyhow::Result;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// A data set that needs no file: inside the program, or drawn.
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    pub name: &'static str,
    /// One line for `colla-host data`.
    pub summary: &'static str,
    load: fn(&config::Data) -> Result<Dataset>,
}

/// Every data set that needs no file; the first one is the default.
pub const EMBEDDED: &[Embedded] = &[
    Embedded {
        name: "optdigits",
        summary: "8 x 8 grey digits, 10 classes, 3,823 training and 1,797 test rows by other writers (CC BY 4.0)",
        load: |config| optdigits::load(config.features),
    },
    Embedded {
        name: "heart-disease",
        summary: "13 clinical inputs, sick or not, 486 training and 254 test rows of 4 hospitals (CC BY 4.0)",
        load: |config| heart_disease::load(config.features),
    },
    Embedded {
        name: synthetic::NAME,
        summary: "any number of rows, drawn for one logistic regression; for experiments of any size",
        load: synthetic::load,
    },
];

/// Loads what `[data]` names.
///
/// Errors: `Kind::Data` naming file, line and both values; `Kind::Config` for wrong or contradictory keys.
pub fn load(config: &config::Data) -> Result<Dataset> {
    match (&config.name, &config.path) {
        (Some(name), Some(path)) => Err(fault(format!(
            "config `data.name = \"{name}\"` and `data.path = \"{}\"`: both name a data set; give one of them",
            path.display()
        ))),
        (name, None) => embedded(name.as_deref().unwrap_or(EMBEDDED[0].name), config),
        (None, Some(path)) => from_path(path, config),
    }
}

fn embedded(name: &str, config: &config::Data) -> Result<Dataset> {
    let Some(set) = EMBEDDED.iter().find(|set| set.name == name) else {
        let names: Vec<&str> = EMBEDDED.iter().map(|set| set.name).collect();
        let hint = did_you_mean(name, names.iter().copied());
        let hint = if hint.is_empty() { ";".into() } else { hint };
        let list = names.join(", ");
        return Err(fault(format!(
            "config `data.name = \"{name}\"`: there is no such data set{hint} available: {list}; \
             give any other set by `data.path`"
        )));
    };
    if config.format != DataFormat::Auto {
        return Err(fault(format!(
            "config `data.format`: `{name}` needs no file and has no format; leave `format` out or give `data.path`"
        )));
    }
    refuse_csv_keys(config, &format!("`{name}` needs no file"))?;
    if name != synthetic::NAME {
        refuse_sizes(config, &format!("`{name}` has the size that it has"))?;
    }
    (set.load)(config)
}

fn from_path(path: &Path, config: &config::Data) -> Result<Dataset> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| {
        Fault::new(Kind::Data, format!("config `data.path = \"{shown}\"`: {error}; check the path"))
    })?;
    // Before it is opened: opening a pipe waits for somebody to write into it.
    if !metadata.is_dir() && !metadata.is_file() {
        let what = "it is a pipe, a socket or a device; give a file or a directory";
        return Err(Fault::new(Kind::Data, format!("config `data.path = \"{shown}\"`: {what}")));
    }
    let is_csv = [".csv", ".csv.gz"].iter().any(|end| path.to_string_lossy().ends_with(end));
    refuse_sizes(config, &format!("`{shown}` has the size that it has"))?;
    match (config.format, metadata.is_dir()) {
        (DataFormat::Auto | DataFormat::Idx, true) => {
            refuse_csv_keys(config, &format!("`{shown}` is a directory of IDX files"))?;
            from_idx(path, config)
        }
        (DataFormat::Csv, false) => from_csv(path, config),
        (DataFormat::Auto, false) if is_csv => from_csv(path, config),
        (DataFormat::Idx, false) => Err(fault(format!(
            "config `data.path = \"{shown}\"`: format `idx` needs the directory that holds the four files, this is a file"
        ))),
        (DataFormat::Csv, true) => {
            Err(fault(format!("config `data.path = \"{shown}\"`: format `csv` needs a file, this is a directory")))
        }
        (DataFormat::Auto, false) => Err(fault(format!(
            "config `data.path = \"{shown}\"`: the name ends neither in .csv nor in .csv.gz; say `format = \"csv\"`, \
             or give the directory of the IDX files"
        ))),
    }
}

fn from_idx(folder: &Path, config: &config::Data) -> Result<Dataset> {
    let files = idx::files(folder)?;
    // What is not packed is read as fast as its cached form.
    if !files.iter().any(|file| is_packed(file)) {
        return idx::load(folder, config.features);
    }
    cache::load(config, &idx::name(folder), &files, || idx::load(folder, config.features))
}

fn from_csv(path: &Path, config: &config::Data) -> Result<Dataset> {
    cache::load(config, &csv::name(path), &[path.into()], || csv::load(path, config))
}

/// Keys that only the data set that is drawn has a use for.
fn refuse_sizes(config: &config::Data, what: &str) -> Result<()> {
    let given = [
        ("num-rows", config.num_rows.is_some()),
        ("num-test-rows", config.num_test_rows.is_some()),
        ("num-features", config.num_features.is_some()),
        ("num-classes", config.num_classes.is_some()),
        ("seed", config.seed.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((key, _)) => Err(fault(format!(
            "config `data.{key}`: only the data set `{}` uses it, and {what}; leave `{key}` out",
            synthetic::NAME
        ))),
        None => Ok(()),
    }
}

/// Keys that only a CSV file has a use for must keep their defaults elsewhere.
fn refuse_csv_keys(config: &config::Data, what: &str) -> Result<()> {
    let defaults = config::Data::default();
    let given = [
        ("label", config.label != defaults.label),
        ("split", config.split != defaults.split),
        ("client", config.client != defaults.client),
        ("test-fraction", config.test_fraction != defaults.test_fraction),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((key, _)) => {
            Err(fault(format!("config `data.{key}`: only CSV files use it, and {what}; leave `{key}` out")))
        }
        None => Ok(()),
    }
}

/// A file for reading, unpacked on the way if its name ends in `.gz`.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file =
        File::open(path).map_err(|error| Fault::new(Kind::Data, format!("data file `{}`: {error}", path.display())))?;
    let buffered = BufReader::with_capacity(1 << 16, file);
    Ok(match is_packed(path) {
        true => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        false => Box::new(buffered),
    })
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

fn fault(message: String) -> anyhow::Error {
    Fault::new(Kind::Config, message)
}

/// A data file that lies beside the repository and is not part of it: under `$COLLA_SHARED` or `../shared`.
/// `None`, with a printed reason, where it is absent; the test is then skipped.
#[cfg(test)]
pub(crate) fn shared_file(relative: &str) -> Option<std::path::PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let path = std::env::var_os("COLLA_SHARED").map_or_else(beside, Into::into).join(relative);
    if !path.exists() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing, and CI must not skip this test", path.display());
        eprintln!("skipped: {} is not there; set COLLA_SHARED to the folder that holds it", path.display());
        return None;
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;

    #[track_caller]
    fn check(config: config::Data, code: u8, expected: &str) {
        let error = load(&config).unwrap_err();
        assert_eq!((error.to_string().as_str(), exit_code(&error)), (expected, code));
    }

    fn named(name: &str) -> config::Data {
        config::Data { name: Some(name.into()), ..Default::default() }
    }

    #[test]
    fn nothing_given_means_optdigits() {
        assert_eq!(load(&config::Data::default()).unwrap().name, "optdigits");
        assert_eq!(load(&named("heart-disease")).unwrap().name, "heart-disease");
    }

    #[test]
    fn contradictions_are_configuration_errors() {
        check(
            named("optdigit"),
            3,
            "config `data.name = \"optdigit\"`: there is no such data set; did you mean `optdigits`? \
             available: optdigits, heart-disease, synthetic; give any other set by `data.path`",
        );
        check(
            config::Data { path: Some("x.csv".into()), ..named("optdigits") },
            3,
            "config `data.name = \"optdigits\"` and `data.path = \"x.csv\"`: both name a data set; give one of them",
        );
        check(
            config::Data { format: DataFormat::Csv, ..named("optdigits") },
            3,
            "config `data.format`: `optdigits` needs no file and has no format; leave `format` out or give `data.path`",
        );
        check(
            config::Data { client: Some("center".into()), ..named("heart-disease") },
            3,
            "config `data.client`: only CSV files use it, and `heart-disease` needs no file; leave `client` out",
        );
    }

    #[test]
    fn only_what_is_drawn_has_a_size_to_set() {
        check(
            config::Data { num_rows: Some(10), ..named("optdigits") },
            3,
            "config `data.num-rows`: only the data set `synthetic` uses it, and `optdigits` has the size that it has; \
             leave `num-rows` out",
        );
    }

    #[test]
    fn paths_must_fit_their_format() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &Path, format| config::Data { path: Some(path.into()), format, ..Default::default() };
        let file = folder.path().join("x.tsv");
        std::fs::write(&file, "a,label\n1,0\n2,1\n3,1\n4,0\n").unwrap();
        let exit = |config| exit_code(&load(&config).unwrap_err());
        assert_eq!(exit(at(&folder.path().join("absent.csv"), DataFormat::Auto)), 4);
        assert_eq!(exit(at(&file, DataFormat::Auto)), 3);
        assert_eq!(exit(at(&file, DataFormat::Idx)), 3);
        assert_eq!(exit(at(folder.path(), DataFormat::Csv)), 3);
        assert_eq!(load(&at(&file, DataFormat::Csv)).unwrap().train.len(), 3);
    }

    #[test]
    fn a_packed_csv_file_equals_the_plain_one() {
        let folder = tempfile::tempdir().unwrap();
        let text: String = "a,label\n"
            .chars()
            .chain((0..50).flat_map(|i| format!("{i},{}\n", i % 3).chars().collect::<Vec<_>>()))
            .collect();
        let (plain, packed) = (folder.path().join("x.csv"), folder.path().join("x.csv.gz"));
        std::fs::write(&plain, &text).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(File::create(&packed).unwrap(), Default::default());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        let load = |path: &Path| load(&config::Data { path: Some(path.into()), ..Default::default() }).unwrap();
        assert_eq!((load(&packed).name.as_str(), load(&packed).fingerprint), ("x", load(&plain).fingerprint));
    }
}
