//! Reading LAYOUT: the shapes of the model's tensors.
//!
//! Where in the flow: called by plugins of unit `tensor` inside [`Plugin::layout`](crate::Plugin::layout). Piece number `unit`
//! is the tensor of that index. Matrices of linear layers are [inputs, outputs], kernels [outputs, inputs, height, width].

use crate::{Error, Map, Result, Value};

/// The dimensions of each tensor, in the order of the pieces. Their product is a tensor's length, 1 without dimensions.
///
/// Errors: `E_ARG` if the message has no list `shapes`, or a shape is none.
pub fn shapes(layout: &Map) -> Result<Vec<Vec<usize>>> {
    let shapes = layout.list("shapes").ok_or_else(|| Error::argument("LAYOUT has no list `shapes`"))?;
    let readable = shapes.iter().enumerate().map(|(index, shape)| {
        dimensions(shape).ok_or_else(|| Error::argument(format!("LAYOUT: the shape of tensor {index} is unusable")))
    });
    readable.collect()
}

/// Whole numbers whose product is a length that memory can have.
fn dimensions(shape: &Value) -> Option<Vec<usize>> {
    let Value::List(dimensions) = shape else { return None };
    let dimension = |value: &Value| if let Value::I64(value) = value { usize::try_from(*value).ok() } else { None };
    let dimensions: Vec<usize> = dimensions.iter().map(dimension).collect::<Option<_>>()?;
    dimensions.iter().try_fold(1usize, |len, &dimension| len.checked_mul(dimension))?;
    Some(dimensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shapes: Vec<Value>) -> Result<Vec<Vec<usize>>> {
        super::shapes(&Map::new().with("shapes", shapes))
    }

    #[test]
    fn shapes_are_read_in_order() {
        let list = |dimensions: &[i64]| Value::List(dimensions.iter().map(|&d| Value::I64(d)).collect());
        assert_eq!(of(vec![list(&[3, 4]), list(&[]), list(&[5])]), Ok(vec![vec![3, 4], vec![], vec![5]]));
        let refusal = |shape| of(vec![list(&[1]), shape]).unwrap_err().message;
        for shape in [list(&[-1]), list(&[i64::MAX, 4]), Value::I64(3), Value::List(vec![Value::F64(1.0)])] {
            assert_eq!(refusal(shape), "LAYOUT: the shape of tensor 1 is unusable");
        }
        assert_eq!(super::shapes(&Map::new()).unwrap_err().message, "LAYOUT has no list `shapes`");
    }
}
