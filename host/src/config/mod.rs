//! The one configuration: every default stands here and nowhere else.
//!
//! What is this: the experiment as a value, read from TOML, overridden by flags, stored resolved with the results.
//! Where in the flow: first; everything below receives a part of it.
//! What it never does: touch files other than the one it is read from, or look at data.

mod cache;
mod check;
mod device;
mod keys;
mod load;
mod overrides;
mod resolve;

pub use cache::Cache;
pub(crate) use check::{MAX_EPOCHS, MAX_STEPS, MAX_THREADS};
pub use device::DeviceChoice;
#[cfg(not(all(feature = "gpu", feature = "cuda")))]
pub(crate) use device::not_built;

use crate::privacy::Accountant;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A whole experiment. The resolved form, stored as `config.toml` in the run directory, alone repeats the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Run seed: cohorts, initial weights, batch order, plugins' draws. Default 42.
    pub seed: u64,
    pub data: Data,
    pub partition: Partition,
    pub model: Model,
    pub train: Train,
    pub federation: Federation,
    /// Clients that do not finish their rounds. Default: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stragglers: Option<Stragglers>,
    pub evaluate: Evaluate,
    /// Who is hostile, for a run with a plugin of the role attack. Default: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<Attack>,
    /// How the noise of a run is accounted for. Default: the section's defaults in a run with such noise, else nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,
    /// Plugins in the order in which they count inside a role. None means FedAvg.
    #[serde(rename = "plugin", skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<Plugin>,
    pub host: Host,
}

/// Which data set. Exactly one of `name` and `path`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Data {
    /// A data set that needs no file: `optdigits` (default) or `heart-disease`, which are embedded, or `synthetic`,
    /// which is drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A directory with the four IDX files of MNIST's form (`.gz` or not), or a CSV file (`.gz` or not).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `auto` (default, from the path), `idx` or `csv`.
    pub format: DataFormat,
    /// What is done to the features. Default `scale`.
    pub features: FeatureScaling,
    /// CSV: the label's column. Default `label`.
    pub label: String,
    /// CSV: the column that says `train` or `test`. Default `split`; without such a column see `test-fraction`.
    pub split: String,
    /// CSV: the column whose distinct values are the natural clients. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// CSV without a split column: share of the rows held out as the test set, in (0, 1). Default 0.2.
    pub test_fraction: f64,
    /// `synthetic` only: rows of the training set, 1 to 2³¹. Default 60000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_rows: Option<usize>,
    /// `synthetic` only: rows of the test set, 1 to 2³¹. Default 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_test_rows: Option<usize>,
    /// `synthetic` only: values of a row, 1 to 65536. Default 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_features: Option<usize>,
    /// `synthetic` only: 2 to 1000. Default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_classes: Option<usize>,
    /// `synthetic` only: seed of the data, apart from the run seed. Default 42.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Where unpacked and parsed files of 1 MiB or more are kept, by hash of their content and of the settings above: a
    /// folder, or `false` for nowhere. Default: the user's cache directory.
    #[serde(skip_serializing_if = "Cache::is_default")]
    pub cache: Cache,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataFormat {
    Auto,
    Idx,
    Csv,
}

/// What is done to the features before training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureScaling {
    /// Nothing (CSV values and pixel values as they are).
    None,
    /// Pixels to [0, 1] (value / largest possible value); columns of a CSV file to [0, 1] by the smallest and largest
    /// value of the training rows; heart disease to its usual form, standardised within each hospital.
    Scale,
    /// Minus the mean, divided by the standard deviation of the training set: one pair for all pixels of an image
    /// set ((pixel/255 − 0.1307)/0.3081 on MNIST), one pair per column of a CSV file.
    Standardize,
}

/// How the training rows are spread over the clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Partition {
    pub kind: PartitionKind,
    /// K, the number of virtual clients, at least 1. Default 100. `natural` takes it from the data.
    #[serde(alias = "num-supernodes")]
    pub num_clients: usize,
    /// Dirichlet concentration, 10⁻⁶ to 10⁶. `dirichlet`, `dirichlet-hsu` and `dirichlet-lognormal` only. Default 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// `iid` only: rows of each client, at most as many as there are. They are dealt from as many shuffled passes over the
    /// training set as it takes, so a row may belong to several clients; no client holds one twice. Default: all rows are
    /// dealt once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples_per_client: Option<usize>,
    /// `shards` only: shards per client. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards_per_client: Option<usize>,
    /// `pathological` and `pathological-lognormal` only: classes per client. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes_per_client: Option<usize>,
    /// `lognormal`, `…-lognormal` and `power-law` only: standard deviation of ln(size), 0 to 10. Default 1 (`power-law`: 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
    /// Smallest number of rows a client may end with, before `test-fraction`. Random kinds are drawn again until it
    /// holds; `lognormal` and `dirichlet-lognormal` raise smaller clients to it. At least 1. Default 1.
    pub min_partition_size: usize,
    /// Share of each client's rows that is held out as that client's own test rows, in [0, 1). Default 0.
    pub test_fraction: f64,
    /// Partition seed, apart from the run seed. Default 42.
    pub seed: u64,
    /// Where finished partitions are kept, by hash of data and settings: a folder, or `false` for nowhere. Default: the
    /// user's cache directory.
    #[serde(skip_serializing_if = "Cache::is_default")]
    pub cache: Cache,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionKind {
    /// Shuffled rows in blocks of equal size; the first `N mod K` blocks have one more. With `samples-per-client`, exactly
    /// so many for each client.
    Iid,
    /// Each class spread over the clients by Dir_K(alpha) (Flower's convention).
    Dirichlet,
    /// Each client draws its class mixture from Dir_C(alpha·p); equal sizes (Hsu et al., arXiv:1909.06335).
    DirichletHsu,
    /// Sorted by label, cut into K × shards-per-client shards, dealt out (McMahan et al., arXiv:1602.05629).
    Shards,
    /// Each client holds exactly `classes-per-client` classes (class count differs).
    Pathological,
    /// Sizes ~ lognormal(sigma), classes alike (sample count differs).
    Lognormal,
    /// Class count and sample count differ: `pathological` label sets, lognormal shares of each class.
    PathologicalLognormal,
    /// Class mixture and sample count differ: Hsu's mixtures, lognormal sizes.
    DirichletLognormal,
    /// FedProx's MNIST split: two labels a client, shares ~ lognormal(0, 2) (arXiv:1812.06127).
    PowerLaw,
    /// One client per distinct value of the data's client column.
    Natural,
}

/// Which model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Model {
    pub name: ModelName,
    /// `mlp` only, refused beside another: widths of the hidden layers. Default `[64]`; `[200, 200]` is McMahan's 2NN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// Initial weights from a safetensors file instead of the seeded draw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelName {
    /// One linear layer.
    Logistic,
    /// Linear layers with ReLU between them.
    Mlp,
    /// McMahan et al.'s CNN for 28 × 28 images: 1,663,370 parameters on MNIST.
    Cnn,
    /// The same with batch normalisation between each convolution and its ReLU: 1,663,754 weights on MNIST, of which 192 are
    /// running statistics.
    CnnBn,
}

/// Local training on a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Train {
    pub optimizer: Optimizer,
    /// Positive. Default 0.1.
    pub learning_rate: f64,
    /// SGD momentum in [0, 1). Default 0.
    pub momentum: f64,
    /// L2 weight decay, at least 0. Default 0.
    pub weight_decay: f64,
    /// E, at least 1. Default 5. Ignored when `local-steps` is set.
    pub local_epochs: usize,
    /// Exact number of local steps instead of epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_steps: Option<usize>,
    /// B: a number, or `"full"` for one batch of all the client's rows. Default 10.
    pub batch_size: BatchSize,
    /// New order of the rows in each epoch. Default true.
    pub shuffle: bool,
    /// A client continues in its order of rows where its last round stopped, instead of beginning anew. Default false.
    pub persist_iterator: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    Sgd,
}

/// FedAvg's B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    Rows(usize),
    Full,
}

/// The rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Federation {
    /// Default 50.
    pub num_server_rounds: usize,
    /// C: share of the clients that train in a round, in (0, 1]; at least one client. Default 0.1.
    pub fraction_train: f64,
    /// `fixed` (default): max(1, floor(C·K)) clients; `poisson`: each client independently with probability C.
    pub sampling: Sampling,
    /// Step length of the server when no plugin takes the server step. Default 1.
    pub server_learning_rate: f64,
    /// Largest magnitude of one element of an update that is folded into a sum, at most 2²⁰; beyond it the client has
    /// diverged. Sums are exact on a grid made for this bound, so a mean over K clients is off by at most K·bound·2⁻⁵¹.
    /// Updates that are kept have no bound. Default 64.
    pub update_bound: f64,
    /// Rows of the training set that the server draws for itself, for rules that compare updates with one of its own
    /// (FLTrust). At most as many as there are. Default 0.
    pub root_rows: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    Fixed,
    Poisson,
}

/// Clients that do not finish their rounds, as in FedProx's experiments (arXiv:1812.06127, section 5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Stragglers {
    /// Share of each cohort that is late, in [0, 1]: the nearest whole number of clients (halves up), drawn anew in each
    /// round. Without it the section would do nothing, so a file that has the section says it.
    pub share: f64,
    #[serde(default)]
    pub work: StragglerWork,
}

/// What becomes of a late client's work. Default `kept`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StragglerWork {
    /// A number of epochs that is uniform on 1..E−1, of steps on 1..S−1 with `local-steps`, and the update is aggregated.
    #[default]
    Kept,
    /// Nothing of the client reaches the server.
    Dropped,
}

/// Which clients are hostile: exactly one of `fraction` and `clients`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Attack {
    /// Share of all clients, in [0, 1]: floor(fraction·K) of them, drawn with the run seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// Their ids, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<u32>>,
}

/// Differential privacy: what is told of it, and when it ends the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Privacy {
    /// δ of the (ε, δ) that is told after each round, in (0, 1). Default 10⁻⁵; for a guarantee worth the name it lies
    /// well below 1 / clients.
    pub delta: f64,
    /// The budget: largest ε, above 0. The run stops before the round that would exceed it. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// `rdp` (default), or `pld`, which is tighter, takes longer and knows no fixed cohorts.
    pub accountant: Accountant,
}

/// When and on what the common model is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Evaluate {
    /// Central evaluation on the test set every so many rounds (and after the last one). Default 1.
    pub every: usize,
    /// Evaluation on the clients' own rows: `never`, `last` (default) or `always`.
    pub clients: ClientEvaluation,
    /// Share of the clients that are evaluated, in (0, 1]. Default: all of them, up to 10,000 clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraction_evaluate: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientEvaluation {
    Never,
    Last,
    Always,
}

/// One plugin: a shipped `name` or a `path`, then its parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plugin {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<PathBuf>,
    /// BLAKE3 of the file, hex. When given, another file is refused; the stored configuration always gives it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub blake3: Option<String>,
    /// Parameters by name, checked against the manifest. `error-feedback` and `direction` are the host's own, for any
    /// compressor.
    #[serde(flatten)]
    pub parameters: toml::Table,
}

impl Plugin {
    /// A shipped plugin with its default parameters.
    pub fn shipped(name: &str) -> Self {
        Plugin { name: Some(name.into()), ..Plugin::default() }
    }
}

/// The machine's side: nothing here but `device` changes a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Host {
    /// `cpu` (default), `gpu` or `cuda`, the last two with an index where there are several: see [`DeviceChoice`].
    pub device: String,
    /// MiB of a GPU's memory that training may take, at least 64: how many clients train together. If not even one fits,
    /// the run is refused. Default 2048.
    pub device_memory: usize,
    /// Agents, one per thread. 0 (default) means one per core.
    pub threads: usize,
    /// MiB of memory for the updates of a cohort, where a method needs them all at once (cohort × weights × 4 bytes);
    /// more go to a temporary file in the run directory. Default 1024.
    pub update_memory: usize,
    /// MiB of memory for what plugins keep of clients between rounds (vectors × clients that took part × weights × 4
    /// bytes), at most 2²⁰; more goes to a temporary file in the run directory. Default 2048.
    pub state_memory: usize,
    /// Run directory. Default: the next free `runs/0001`, `runs/0002`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
    /// BLAKE3 hashes of native plugin files that may be loaded. Default: none. Approval is a matter of the person at the
    /// machine: an experiment file can neither give it nor keep it.
    #[serde(skip)]
    pub allow_native: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            seed: 42,
            data: Data::default(),
            partition: Partition::default(),
            model: Model::default(),
            train: Train::default(),
            federation: Federation::default(),
            stragglers: None,
            evaluate: Evaluate::default(),
            attack: None,
            privacy: None,
            plugins: Vec::new(),
            host: Host::default(),
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Data {
            name: None,
            path: None,
            format: DataFormat::Auto,
            features: FeatureScaling::Scale,
            label: "label".into(),
            split: "split".into(),
            client: None,
            test_fraction: 0.2,
            num_rows: None,
            num_test_rows: None,
            num_features: None,
            num_classes: None,
            seed: None,
            cache: Cache::User,
        }
    }
}

impl Default for Partition {
    fn default() -> Self {
        Partition {
            kind: PartitionKind::Dirichlet,
            num_clients: 100,
            alpha: None,
            samples_per_client: None,
            shards_per_client: None,
            classes_per_client: None,
            sigma: None,
            min_partition_size: 1,
            test_fraction: 0.0,
            seed: 42,
            cache: Cache::User,
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Model { name: ModelName::Mlp, hidden: None, init: None }
    }
}

impl Default for Train {
    fn default() -> Self {
        Train {
            optimizer: Optimizer::Sgd,
            learning_rate: 0.1,
            momentum: 0.0,
            weight_decay: 0.0,
            local_epochs: 5,
            local_steps: None,
            batch_size: BatchSize::Rows(10),
            shuffle: true,
            persist_iterator: false,
        }
    }
}

impl Default for Federation {
    fn default() -> Self {
        Federation {
            num_server_rounds: 50,
            fraction_train: 0.1,
            sampling: Sampling::Fixed,
            server_learning_rate: 1.0,
            update_bound: 64.0,
            root_rows: 0,
        }
    }
}

impl Default for Privacy {
    fn default() -> Self {
        Privacy { delta: 1e-5, epsilon: None, accountant: Accountant::Rdp }
    }
}

impl Default for Evaluate {
    fn default() -> Self {
        Evaluate { every: 1, clients: ClientEvaluation::Last, fraction_evaluate: None }
    }
}

impl Default for Host {
    fn default() -> Self {
        Host {
            device: "cpu".into(),
            device_memory: 2048,
            threads: 0,
            update_memory: 1024,
            state_memory: 2048,
            out: None,
            allow_native: Vec::new(),
        }
    }
}

impl Serialize for BatchSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            BatchSize::Rows(rows) => serializer.serialize_u64(*rows as u64),
            BatchSize::Full => serializer.serialize_str("full"),
        }
    }
}

impl<'de> Deserialize<'de> for BatchSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Rows(usize),
            Word(String),
        }
        match Raw::deserialize(deserializer) {
            Ok(Raw::Rows(rows)) if rows > 0 => Ok(BatchSize::Rows(rows)),
            Ok(Raw::Word(word)) if word == "full" => Ok(BatchSize::Full),
            _ => Err(serde::de::Error::custom("a batch size is a positive number or \"full\"")),
        }
    }
}
