//! Tests of the crate as a whole: the bytes of the ABI, and the glue under a host that errs.

mod glue;
mod vectors;
