//! Rows of many owners in two flat arrays.
//!
//! Where in the flow: what a partition is made of. What it never does: one allocation per client.

/// Rows of each client, compressed: client `k` owns `rows[offsets[k]..offsets[k + 1]]`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ClientRows {
    offsets: Vec<u64>,
    rows: Vec<u32>,
}

impl ClientRows {
    pub fn new(lists: impl IntoIterator<Item = Vec<u32>>) -> Self {
        let mut all = ClientRows { offsets: vec![0], rows: Vec::new() };
        for list in lists {
            all.rows.extend(list);
            all.offsets.push(all.rows.len() as u64);
        }
        all
    }

    /// `size` consecutive rows for each client. `rows` is a multiple of `size`, which is not 0.
    pub(super) fn equal(rows: Vec<u32>, size: usize) -> Self {
        let offsets = (0..=rows.len() / size).map(|client| (client * size) as u64).collect();
        ClientRows { offsets, rows }
    }

    /// The rows of `order`, grouped by `owners[row]` (a counting sort: order is kept inside a group).
    /// Rows whose owner is not below `num_owners` are left out.
    pub(super) fn grouped(order: impl Iterator<Item = u32> + Clone, owners: &[u32], num_owners: usize) -> Self {
        let mut offsets = vec![0u64; num_owners + 1];
        for row in order.clone() {
            if let Some(count) = offsets.get_mut(owners[row as usize] as usize + 1) {
                *count += 1;
            }
        }
        for k in 0..num_owners {
            offsets[k + 1] += offsets[k];
        }
        let mut rows = vec![0; offsets[num_owners] as usize];
        let mut next = offsets.clone();
        for row in order {
            let owner = owners[row as usize] as usize;
            if owner < num_owners {
                rows[next[owner] as usize] = row;
                next[owner] += 1;
            }
        }
        ClientRows { offsets, rows }
    }

    pub fn num_clients(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn client(&self, index: usize) -> &[u32] {
        &self.rows[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    /// All rows, client after client.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Number of rows of each client.
    pub fn sizes(&self) -> impl Iterator<Item = usize> + '_ {
        self.offsets.windows(2).map(|w| (w[1] - w[0]) as usize)
    }

    pub(super) fn for_each_mut(&mut self, mut visit: impl FnMut(usize, &mut [u32])) {
        for client in 0..self.num_clients() {
            let range = self.offsets[client] as usize..self.offsets[client + 1] as usize;
            visit(client, &mut self.rows[range]);
        }
    }

    /// Splits each client's rows: the first `fraction` of them (rounded, but not all) are held out. Returns the rows
    /// that stay and the rows held out.
    pub(super) fn hold_out(&self, fraction: f64) -> (ClientRows, ClientRows) {
        let empty = || ClientRows { offsets: vec![0], rows: Vec::new() };
        let (mut kept, mut held) = (empty(), empty());
        for client in 0..self.num_clients() {
            let rows = self.client(client);
            let count = ((fraction * rows.len() as f64).round() as usize).min(rows.len().saturating_sub(1));
            for (part, rows) in [(&mut held, &rows[..count]), (&mut kept, &rows[count..])] {
                part.rows.extend_from_slice(rows);
                part.offsets.push(part.rows.len() as u64);
            }
        }
        (kept, held)
    }

    /// Whether this is `num_clients` lists of distinct rows below `num_rows`: what a file must prove before it is used.
    /// `shared`: a row may be in several lists.
    pub(super) fn is_sound(&self, num_clients: usize, num_rows: usize, shared: bool) -> bool {
        let bounds = self.offsets.first() == Some(&0) && self.offsets.last() == Some(&(self.rows.len() as u64));
        let ascending = self.offsets.windows(2).all(|w| w[0] <= w[1]);
        if self.offsets.len() != num_clients + 1 || !bounds || !ascending {
            return false;
        }
        // The last client, counted from 1, that a row was seen with.
        let mut seen = vec![0; num_rows];
        let mut fresh = |client: usize, row: u32| {
            let Some(last) = seen.get_mut(row as usize) else { return false };
            let before = std::mem::replace(last, client + 1);
            before == 0 || shared && before != client + 1
        };
        (0..num_clients).all(|client| self.client(client).iter().all(|&row| fresh(client, row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grouping_keeps_the_order_and_leaves_strangers_out() {
        let groups = ClientRows::grouped([3, 1, 0, 2].into_iter(), &[1, 0, u32::MAX, 1], 3);
        assert_eq!(groups, ClientRows::new([vec![1], vec![3, 0], vec![]]));
        assert_eq!(groups.sizes().collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[test]
    fn holding_out_leaves_every_client_a_row() {
        let all = ClientRows::new([vec![5, 6, 7, 8], vec![9], vec![]]);
        let (kept, held) = all.hold_out(0.4);
        assert_eq!(held, ClientRows::new([vec![5, 6], vec![], vec![]]));
        assert_eq!(kept, ClientRows::new([vec![7, 8], vec![9], vec![]]));
        assert_eq!(all.hold_out(0.99).0.sizes().collect::<Vec<_>>(), [1, 1, 0]);
    }

    #[test]
    fn soundness_means_distinct_rows_in_range() {
        assert!(ClientRows::new([vec![0, 2], vec![1]]).is_sound(2, 3, false));
        let shared = ClientRows::new([vec![0, 2], vec![2]]);
        assert!(shared.is_sound(2, 3, true) && !shared.is_sound(2, 3, false));
        assert!(!ClientRows::new([vec![2, 2], vec![1]]).is_sound(2, 3, true));
        for (case, wrong) in [
            ClientRows::new([vec![0, 3], vec![1]]),
            ClientRows::new([vec![0, 1], vec![1]]),
            ClientRows::new([vec![0, 1]]),
            ClientRows { offsets: vec![0, 2, 1, 3], rows: vec![0, 1, 2] },
            ClientRows { offsets: vec![0, 1, 9], rows: vec![0, 1] },
            ClientRows { offsets: vec![], rows: vec![] },
        ]
        .iter()
        .enumerate()
        {
            assert!(!wrong.is_sound(2, 3, false) && !wrong.is_sound(2, 3, true), "case {case}");
        }
    }
}
