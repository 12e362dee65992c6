//! What a plugin says of itself, read from the file without running a line of it.

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
    /// Roles normalize, compress, post: the piece that one APPLY, ENCODE or DECODE call sees.
    #[serde(default)]
    pub unit: Unit,
    #[serde(default)]
    pub state: Vec<StateSlot>,
    /// Role compress: capacity of one encoded piece of `n` elements, `n·num/den + plus` bytes.
    #[serde(default)]
    pub max_encoded: Option<MaxEncoded>,
    /// What must hold for the method's analysis; checked before the run.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Scalars that the method needs beyond those that the host always knows.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Whether it draws random numbers.
    #[serde(default)]
    pub rng: bool,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Frames of 65,536 elements.
    #[default]
    Range,
    Tensor,
    Whole,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSlot {
    pub name: String,
    /// `server` or `client`.
    pub scope: StateScope,
    /// First value of every element: a number, or the name of a parameter that gives it.
    #[serde(default)]
    pub init: StateInit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateScope {
    Server,
    Client,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StateInit {
    Value(f64),
    Parameter(String),
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
