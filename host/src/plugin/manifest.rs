//! What a plugin says of itself, read from the file without running a line of it.
//!
//! Where in the flow: `file.rs` cuts the JSON out of the file, [`Manifest::parse`] reads and checks it here, and
//! everything that follows (parameters, roles, state) relies on what was checked.
//! What it never does: believe it. What a manifest promises of behaviour is checked where the plugin answers.

mod check;

pub(super) use check::check_name;

use super::text;
use crate::error::short;
use serde::{Deserialize, Serialize};

/// The JSON in the `colla.manifest` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `"major.minor"`, e.g. `"1.0"`.
    pub abi: String,
    /// Kebab-case.
    pub name: String,
    pub version: String,
    /// At least one.
    pub kinds: Vec<Role>,
    pub summary: String,
    #[serde(default)]
    pub authors: Vec<String>,
    #[serde(default)]
    pub license: String,
    #[serde(default)]
    pub homepage: String,
    #[serde(default)]
    pub paper: String,
    #[serde(default, rename = "params")]
    pub parameters: Vec<Parameter>,
    /// Role aggregate: what it reduces over. Default: sums with weights known before training.
    #[serde(default)]
    pub reduce: Vec<Reduce>,
    /// Role attack: what it acts on. Default: updates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attacks: Vec<AttackedPart>,
    /// Roles normalize, compress, post: the piece that one APPLY, UNDO, ENCODE or DECODE call sees.
    #[serde(default)]
    pub unit: Unit,
    #[serde(default)]
    pub state: Vec<StateSlot>,
    /// Role compress: capacity of one encoded piece of `n` elements, `n·num/den + plus` bytes.
    #[serde(default)]
    pub max_encoded: Option<MaxEncoded>,
    /// Role client: vectors that a client uploads besides its update; the plugin's server step receives their raw sums.
    #[serde(default)]
    pub vectors: Vec<Vector>,
    /// Role client: the client slot that holds a personal model, which is evaluated in place of the common one.
    #[serde(default)]
    pub personal: Option<String>,
    /// Role normalize: capacity of the side header of one piece in bytes. Above 0 the stage is undone on the server.
    #[serde(default)]
    pub max_header: usize,
    /// Roles normalize, compress: what the stage does to the Euclidean norm of the update.
    #[serde(default)]
    pub norm: NormEffect,
    /// With `norm` = `bounds`: the parameter that holds the bound. Without it, the plugin broadcasts `norm_bound`.
    #[serde(default)]
    pub norm_bound: Option<String>,
    /// What must hold for the method's analysis; checked before the run.
    #[serde(default)]
    pub requires: Vec<Requirement>,
    /// Noise for differential privacy that the host keeps account of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Noise>,
    /// Scalars that the method needs beyond those that the host always knows.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// Whether it draws random numbers.
    #[serde(default)]
    pub rng: bool,
}

impl Manifest {
    /// Reads and checks the JSON text of a manifest section.
    ///
    /// The ABI comes first, since a manifest of another major version may have fields that this host cannot know.
    /// Errors: one sentence that says what is wrong with which field, ready to stand behind the file's name.
    pub fn parse(json: &str) -> Result<Self, String> {
        let loose: serde_json::Value =
            serde_json::from_str(json).map_err(|e| format!("its manifest is not valid JSON: {e}"))?;
        let abi = loose.get("abi").and_then(|abi| abi.as_str());
        check::abi(abi.ok_or("its manifest has no text field `abi`, for example \"1.0\"")?)?;
        let mut reader = serde_json::Deserializer::from_str(json);
        let manifest: Manifest = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
            format!(
                "its manifest is wrong at `{}`: {}",
                text::line(&e.path().to_string()),
                text::line(&e.inner().to_string())
            )
        })?;
        manifest.check().map_err(|e| format!("its manifest is wrong: {e}"))?;
        Ok(manifest)
    }

    /// ABI version as `major << 16 | minor`, the form that `colla_abi_version` gives.
    pub fn abi_version(&self) -> Option<u32> {
        check::parse_abi(&self.abi).map(|(major, minor)| u32::from(major) << 16 | u32::from(minor))
    }

    pub fn has(&self, role: Role) -> bool {
        self.kinds.contains(&role)
    }

    /// What a plugin of the role attack acts on.
    pub fn attacked_parts(&self) -> &[AttackedPart] {
        if self.attacks.is_empty() { &[AttackedPart::Updates] } else { &self.attacks }
    }

    /// Whether the plugin attacks this.
    pub fn attacks(&self, part: AttackedPart) -> bool {
        self.has(Role::Attack) && self.attacked_parts().contains(&part)
    }

    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Client,
    Normalize,
    Compress,
    Attack,
    Mix,
    Aggregate,
    Post,
    ServerStep,
    Select,
}

impl Role {
    /// The word of manifests and messages.
    pub fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Normalize => "normalize",
            Role::Compress => "compress",
            Role::Attack => "attack",
            Role::Mix => "mix",
            Role::Aggregate => "aggregate",
            Role::Post => "post",
            Role::ServerStep => "server-step",
            Role::Select => "select",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ParameterType,
    pub default: serde_json::Value,
    /// Smallest allowed number; `exclusive_min` forbids the bound itself.
    #[serde(default)]
    pub min: Option<f64>,
    #[serde(default)]
    pub max: Option<f64>,
    #[serde(default)]
    pub exclusive_min: bool,
    #[serde(default)]
    pub exclusive_max: bool,
    /// Type `choice`: the allowed words.
    #[serde(default)]
    pub choices: Vec<String>,
    pub doc: String,
}

impl Parameter {
    /// Why `value` is not allowed here; the words follow the parameter's name and value.
    pub fn refuse(&self, value: &serde_json::Value) -> Option<String> {
        match self.kind {
            ParameterType::Bool if value.is_boolean() => None,
            ParameterType::Bool => Some("it must be true or false".into()),
            ParameterType::Int if value.is_i64() => self.refuse_number(value.as_f64()?),
            ParameterType::Int => Some("it must be a whole number".into()),
            ParameterType::Float if value.as_f64().is_some_and(f64::is_finite) => self.refuse_number(value.as_f64()?),
            ParameterType::Float => Some("it must be a number".into()),
            ParameterType::Choice => match value.as_str() {
                Some(word) if self.choices.iter().any(|choice| choice == word) => None,
                _ => Some(format!("it must be one of: {}", self.choices.join(", "))),
            },
        }
    }

    /// The allowed values in words, empty if there is no limit: `at least 0 and below 1`.
    pub fn range(&self) -> String {
        let low = self.min.map(|min| (if self.exclusive_min { "above" } else { "at least" }, min));
        let high = self.max.map(|max| (if self.exclusive_max { "below" } else { "at most" }, max));
        let bounds = low.into_iter().chain(high).map(|(word, bound)| format!("{word} {}", short(bound)));
        bounds.collect::<Vec<_>>().join(" and ")
    }

    fn refuse_number(&self, value: f64) -> Option<String> {
        let too_small = self.min.is_some_and(|min| value < min || self.exclusive_min && value == min);
        let too_large = self.max.is_some_and(|max| value > max || self.exclusive_max && value == max);
        (too_small || too_large).then(|| format!("it must be {}", self.range()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterType {
    Float,
    Int,
    Bool,
    Choice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduce {
    SumBefore,
    SumAfter,
    Gram,
    Rows,
}

/// What an attack acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttackedPart {
    /// Hostile clients send something else than they trained (ATTACK).
    Updates,
    /// Hostile clients train otherwise (ATTACK_BEGIN).
    Training,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Frames of 65,536 elements.
    #[default]
    Range,
    Tensor,
    Whole,
}

/// What a stage does to the Euclidean norm of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormEffect {
    /// It is at most the bound afterwards.
    Bounds,
    /// It never grows.
    Keeps,
    /// It may grow.
    #[default]
    Raises,
}

/// A condition of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// The aggregate is a sum in which every client counts the same.
    UniformWeights,
    /// What the sum is divided by does not depend on who took part.
    FixedDenominator,
    PoissonCohort,
    FixedCohort,
    /// Local training is SGD without momentum.
    PlainSgd,
    /// A normalizer bounds the norm of every update, and nothing behind it raises it.
    NormBound,
    /// The model has normalisation layers.
    NormalisationLayers,
    /// The server has rows of its own.
    RootData,
    /// The clients' own updates are aggregated, with weights that the plugin gives them.
    NoMix,
    /// Updates arrive as the plugin's stage left them.
    LastStage,
}

impl Requirement {
    /// The word of manifests and messages.
    pub fn name(self) -> &'static str {
        match self {
            Requirement::UniformWeights => "uniform-weights",
            Requirement::FixedDenominator => "fixed-denominator",
            Requirement::PoissonCohort => "poisson-cohort",
            Requirement::FixedCohort => "fixed-cohort",
            Requirement::PlainSgd => "plain-sgd",
            Requirement::NormBound => "norm-bound",
            Requirement::NormalisationLayers => "normalisation-layers",
            Requirement::RootData => "root-data",
            Requirement::NoMix => "no-mix",
            Requirement::LastStage => "last-stage",
        }
    }
}

/// Which noise a plugin adds, and the parameters that say how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    pub mechanism: NoiseMechanism,
    /// The parameter that holds the noise, in the mechanism's unit.
    pub noise: String,
    /// Mechanism tree: the parameter that holds the rounds of a tree, 0 for one without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// Mechanism tree: the parameter that says whether the last round of a tree gets the root's noise alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseMechanism {
    /// Role post: each weight of a round's aggregate gets its own normal noise; unit: the sensitivity.
    Gaussian,
    /// Role post: the running sum of the aggregates gets that of the nodes of a binary tree; unit: the sensitivity of a
    /// round.
    Tree,
    /// Role aggregate: how many clients have some property, counted as ±½ each, is used with normal noise; unit: the
    /// expected cohort.
    Count,
    /// Role normalize: each update is scaled to a norm of at most C on its client and gets normal noise; unit: C.
    LocalGaussian,
}

impl NoiseMechanism {
    /// The word of manifests and records.
    pub fn name(self) -> &'static str {
        match self {
            NoiseMechanism::Gaussian => "gaussian",
            NoiseMechanism::Tree => "tree",
            NoiseMechanism::Count => "count",
            NoiseMechanism::LocalGaussian => "local-gaussian",
        }
    }

    /// The role that adds it.
    pub fn role(self) -> Role {
        match self {
            NoiseMechanism::Gaussian | NoiseMechanism::Tree => Role::Post,
            NoiseMechanism::Count => Role::Aggregate,
            NoiseMechanism::LocalGaussian => Role::Normalize,
        }
    }
}

/// A scalar per client that the plugin cannot do without, and that costs something to know or may not be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Mean loss of the received weights on the client's examples: one more pass.
    LossBefore,
    /// Squared norm of the update as the server received it.
    UpdateNorm2,
    /// Number of local steps: known in every run, but not of updates in a file that does not say it.
    Steps,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    pub name: String,
    /// Whether the run's compressor encodes it as well; plain values otherwise.
    #[serde(default)]
    pub compressible: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSlot {
    pub name: String,
    /// `server` or `client`.
    pub scope: StateScope,
    /// How many elements it has. Default: as many as the model.
    #[serde(default)]
    pub shape: StateShape,
    /// First value: a number or the name of a parameter for every element, or the weights.
    #[serde(default)]
    pub init: StateInit,
    /// Scope server: every client of the cohort receives it with the weights.
    #[serde(default)]
    pub broadcast: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateScope {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateShape {
    /// One element for each parameter of the model, P.
    #[default]
    Model,
    /// A length for each piece, which the plugin gives at LAYOUT. Compressors only.
    Piece,
    /// One element for each parameter of the model's normalisation layers, in flat order. Role client only: what the term
    /// `personal` keeps.
    Norm,
}

impl StateShape {
    /// The word of manifests and messages.
    pub fn name(self) -> &'static str {
        match self {
            StateShape::Model => "model",
            StateShape::Piece => "piece",
            StateShape::Norm => "norm",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StateInit {
    Value(f64),
    Weights(InitialWeights),
    Parameter(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitialWeights {
    /// The weights before round 1.
    InitialWeights,
    /// Scope client: the weights that the client receives when it first takes part.
    ReceivedWeights,
}

impl Default for StateInit {
    fn default() -> Self {
        StateInit::Value(0.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxEncoded {
    pub num: usize,
    pub den: usize,
    pub plus: usize,
}
