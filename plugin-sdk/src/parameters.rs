//! The plugin's parameters as the host resolved them.
//!
//! Where in the flow: the host fills defaults and checks types and ranges against the manifest, then passes the result
//! to create. So a parameter that is missing here means that code and manifest name it differently.

use crate::{Error, Map, Result, Value};

/// Typed access by name. Every getter fails with `E_CONFIG` if the parameter is missing or of another type.
#[derive(Clone, Debug, Default)]
pub struct Parameters(Map);

impl Parameters {
    pub fn new(resolved: Map) -> Self {
        Parameters(resolved)
    }

    /// Manifest type `float` (an integer converts).
    pub fn f64(&self, name: &str) -> Result<f64> {
        self.0.f64(name).ok_or_else(|| self.unusable(name, "a float"))
    }

    /// Manifest type `float`, rounded to the precision in which kernels compute.
    pub fn f32(&self, name: &str) -> Result<f32> {
        self.f64(name).map(|value| value as f32)
    }

    /// Manifest type `int`.
    pub fn i64(&self, name: &str) -> Result<i64> {
        self.0.i64(name).ok_or_else(|| self.unusable(name, "an int"))
    }

    /// Manifest type `bool`.
    pub fn bool(&self, name: &str) -> Result<bool> {
        self.0.bool(name).ok_or_else(|| self.unusable(name, "a bool"))
    }

    /// Manifest type `choice`: one of its words.
    pub fn choice(&self, name: &str) -> Result<&str> {
        self.0.str(name).ok_or_else(|| self.unusable(name, "a choice"))
    }

    fn unusable(&self, name: &str, wanted: &str) -> Error {
        match self.0.get(name) {
            None => Error::config(format!("parameter `{name}` was not given; declare it in manifest.json")),
            Some(given) => Error::config(format!("parameter `{name}` is {}, the plugin reads {wanted}", kind(given))),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "a bool",
        Value::I64(_) => "an int",
        Value::F64(_) => "a float",
        Value::Str(_) => "a string",
        Value::Bytes(_) => "bytes",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
        Value::F64s(_) | Value::F32s(_) => "an array",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::status;

    #[test]
    fn a_parameter_is_read_by_name_and_type_and_a_mismatch_says_both_types() {
        let given = Parameters::new(Map::new().with("mu", 0.5).with("bits", 8i64).with("weights", "uniform"));
        assert_eq!(given.f64("mu"), Ok(0.5));
        assert_eq!(given.f64("bits"), Ok(8.0));
        assert_eq!(given.i64("bits"), Ok(8));
        assert_eq!(given.choice("weights"), Ok("uniform"));
        let missing = given.f64("nu").unwrap_err();
        assert_eq!(missing.code, status::E_CONFIG);
        assert_eq!(missing.message, "parameter `nu` was not given; declare it in manifest.json");
        assert_eq!(given.bool("mu").unwrap_err().message, "parameter `mu` is a float, the plugin reads a bool");
    }
}
