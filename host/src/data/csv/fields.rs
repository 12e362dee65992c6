//! One field of a table: as a number, a class, a name; and the numbering of names.
//!
//! Where in the flow: under the CSV reader. What it never does: replace a value that it cannot read.

use super::fault;
use anyhow::Result;
use std::borrow::Cow;
use std::collections::HashMap;

/// One field with what an error says about it.
pub struct Cell<'a> {
    pub source: &'a str,
    pub line: u64,
    pub column: &'a str,
    pub value: &'a str,
}

impl<'a> Cell<'a> {
    pub fn number(&self) -> Result<f32> {
        match self.value.parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(number),
            Ok(_) => Err(self.wrong("is not a finite number")),
            Err(_) if self.value.is_empty() => Err(self.wrong("is missing; fill it in or drop the row")),
            Err(_) => Err(self.wrong("is not a number")),
        }
    }

    /// Labels are names. A number must be an integer, also when it is written `1.0`: anything else is a regression
    /// target, which this host does not learn.
    pub fn class(&self) -> Result<Cow<'a, str>> {
        let name = self.name()?;
        match name.parse::<f64>() {
            Ok(number) if number.fract() == 0.0 && number.abs() < 1e15 => Ok(Cow::Owned(format!("{}", number as i64))),
            Ok(_) => Err(self.wrong("is not a class; labels are integers or words")),
            Err(_) => Ok(Cow::Borrowed(name)),
        }
    }

    pub fn is_test(&self) -> Result<bool> {
        match self.value {
            "train" => Ok(false),
            "test" => Ok(true),
            _ => Err(self.wrong("is neither `train` nor `test`")),
        }
    }

    pub fn name(&self) -> Result<&'a str> {
        if self.value.is_empty() { Err(self.wrong("is missing")) } else { Ok(self.value) }
    }

    fn wrong(&self, what: &str) -> anyhow::Error {
        fault(self.source, format!("line {}, column `{}`: `{}` {what}", self.line, self.column, self.value))
    }
}

/// Distinct names in order of appearance.
#[derive(Default)]
pub struct Names {
    index: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    pub fn index(&mut self, name: &str) -> u32 {
        if let Some(&index) = self.index.get(name) {
            return index;
        }
        let index = self.names.len() as u32;
        self.index.insert(name.into(), index);
        self.names.push(name.into());
        index
    }

    /// Ascending names; `codes` are rewritten to match. Integers sort by value, so that client 10 follows client 9.
    pub fn sort(self, codes: &mut [u32]) -> Vec<String> {
        let as_integers: Option<Vec<i64>> = self.names.iter().map(|name| name.parse().ok()).collect();
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        match as_integers {
            Some(integers) => order.sort_by_key(|&i| (integers[i], &self.names[i])),
            None => order.sort_by_key(|&i| &self.names[i]),
        }
        let mut rank = vec![0; order.len()];
        order.iter().zip(0u32..).for_each(|(&old, new)| rank[old] = new);
        codes.iter_mut().for_each(|code| *code = rank[*code as usize]);
        order.into_iter().map(|i| self.names[i].clone()).collect()
    }
}
