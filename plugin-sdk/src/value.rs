//! The control plane's only data type: a map of named values, encoded with postcard.
//!
//! Postcard structs cannot gain a field without breaking old readers, so messages are maps:
//! they grow by keys, and a reader ignores keys that it does not know. The order of [`Value`]'s variants is frozen.

use serde::{Deserialize, Deserializer, Serialize};
use std::cell::Cell;

/// Lists and maps may be nested this deep. Without a limit a hostile reply of a few kilobytes would overflow the reader's stack.
pub const MAX_DEPTH: u32 = 16;

/// One value of a control message. The variant order is part of the ABI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Bool(bool),
    I64(i64),
    F64(f64),
    Str(String),
    Bytes(Vec<u8>),
    #[serde(deserialize_with = "nested")]
    List(Vec<Value>),
    #[serde(deserialize_with = "nested")]
    Map(Map),
    F64s(Vec<f64>),
    F32s(Vec<f32>),
}

fn nested<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    thread_local!(static DEPTH: Cell<u32> = const { Cell::new(0) });
    let depth = DEPTH.get();
    if depth == MAX_DEPTH {
        return Err(serde::de::Error::custom("a message may nest at most 16 deep"));
    }
    DEPTH.set(depth + 1);
    let value = T::deserialize(deserializer);
    DEPTH.set(depth);
    value
}

/// Named values in the order in which they were put. A later entry of the same name is never looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Map(pub Vec<(String, Value)>);

impl Map {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry and returns the map, so that messages read as one expression.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// A number; integers convert.
    pub fn f64(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Value::F64(v) => Some(*v),
            Value::I64(v) => Some(*v as f64),
            _ => None,
        }
    }

    pub fn i64(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::I64(v) => Some(*v),
            _ => None,
        }
    }

    pub fn bool(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Value::Bool(v) => Some(*v),
            _ => None,
        }
    }

    pub fn str(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Str(v) => Some(v),
            _ => None,
        }
    }

    pub fn list(&self, name: &str) -> Option<&[Value]> {
        match self.get(name)? {
            Value::List(v) => Some(v),
            _ => None,
        }
    }

    pub fn map(&self, name: &str) -> Option<&Map> {
        match self.get(name)? {
            Value::Map(v) => Some(v),
            _ => None,
        }
    }

    pub fn f64s(&self, name: &str) -> Option<&[f64]> {
        match self.get(name)? {
            Value::F64s(v) => Some(v),
            _ => None,
        }
    }

    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        // Serialising into a growable vector cannot fail: every variant has a fixed encoding.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// Reads what [`Map::encode`] wrote. `None` if the bytes are anything else, trailing bytes included.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::new());
        }
        match postcard::take_from_bytes(bytes) {
            Ok((map, [])) => Some(map),
            _ => None,
        }
    }
}

macro_rules! into_value {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Value::$variant(value.into())
            }
        })*
    };
}
into_value!(bool => Bool, i64 => I64, u32 => I64, f64 => F64, &str => Str, String => Str, Map => Map,
    Vec<u8> => Bytes, Vec<Value> => List, Vec<f64> => F64s, Vec<f32> => F32s);
