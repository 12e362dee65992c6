//! What would travel: a client's upload as bytes, so that its size is counted and not estimated.
//!
//! Layout: for each piece, its length as `u32` little-endian, then its bytes. An upload without a compressor is the
//! plain `f32` values, four bytes each, without lengths, and is never materialised.
//! Where in the flow: between the client's stages and their undoing on the server.

/// An encoded upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    pub fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(&(piece.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(piece);
    }

    /// Bytes that travel, lengths included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The pieces in the order in which they were pushed.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let (piece, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = tail;
            Some(piece)
        })
    }
}

/// Bytes of `num_weights` plain values.
pub fn plain_bytes(num_weights: usize) -> u64 {
    4 * num_weights as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_as_they_were_pushed_and_lengths_are_counted() {
        let mut message = Message::default();
        let pieces: [&[u8]; 3] = [b"abc", b"", b"de"];
        pieces.iter().for_each(|p| message.push(p));
        assert_eq!(message.pieces().collect::<Vec<_>>(), pieces);
        assert_eq!(message.len(), 3 * 4 + 5);
    }
}
