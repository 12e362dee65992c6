//! Numbers of an independent implementation, as a test reads them: a JSON object of cases.
//!
//! Where in the flow: beside [`super::Testbed`], for tests that hold a plugin to what another program computed. It panics where
//! the file is not what the test expects, since then the test should fail.

/// A JSON object: a file, or one case of a method in it.
pub struct Vectors(serde_json::Value);

impl Vectors {
    pub fn read(text: &str) -> Self {
        Vectors(serde_json::from_str(text).expect("the vectors are JSON"))
    }

    /// The objects of the list `name`, at least one.
    pub fn cases(&self, name: &str) -> Vec<Vectors> {
        let cases: Vec<Vectors> = self.list(name).iter().cloned().map(Vectors).collect();
        assert!(!cases.is_empty(), "`{name}` has no cases");
        cases
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        let float = |value: &serde_json::Value| value.as_f64().expect("a number") as f32;
        self.list(name).iter().map(float).collect()
    }

    pub fn integers(&self, name: &str) -> Vec<u64> {
        self.list(name).iter().map(|value| value.as_u64().expect("a whole number")).collect()
    }

    pub fn f64(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_else(|| panic!("`{name}` is a number"))
    }

    pub fn i64(&self, name: &str) -> i64 {
        self.0[name].as_i64().unwrap_or_else(|| panic!("`{name}` is a whole number"))
    }

    pub fn bool(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or_else(|| panic!("`{name}` is true or false"))
    }

    pub fn str(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_else(|| panic!("`{name}` is a text"))
    }

    fn list(&self, name: &str) -> &[serde_json::Value] {
        self.0[name].as_array().unwrap_or_else(|| panic!("`{name}` is a list"))
    }
}

/// Asserts that each value is within `tolerance` of its counterpart.
#[track_caller]
pub fn close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "as many values");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "value {at}: {found} for {expected}");
    }
}
