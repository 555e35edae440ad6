//! Flow control of one stream: what its worker may send before it is told that more was consumed.

/// What the worker may have on its way to one stream.
pub(super) struct Window {
    /// Credit given minus bytes that were consumed and told; a batch larger than the credit overdraws it.
    open: i64,
    /// Consumed bytes that the worker has not been told of.
    consumed: i64,
}

impl Window {
    pub fn new(credit: u32) -> Self {
        Self { open: credit.into(), consumed: 0 }
    }

    /// Counts consumed bytes and returns the credit to give, once it is worth a frame. With more streams than before the
    /// share is smaller, and less is given back than was used.
    pub fn consume(&mut self, bytes: usize, share: u32) -> u32 {
        self.consumed += i64::try_from(bytes).expect("frames are small");
        if self.consumed < self.open / 2 {
            return 0;
        }
        self.open -= std::mem::take(&mut self.consumed);
        let grant = u32::try_from(i64::from(share) - self.open).unwrap_or(0);
        self.open += i64::from(grant);
        grant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worker's side: sends while it has credit, whole batches of one size.
    fn all_arrive(batch: usize, share: impl Fn(usize) -> u32) {
        let mut window = Window::new(share(0));
        let mut credit = i64::from(share(0));
        for sent in 0..1000 {
            assert!(credit > 0, "stalled after {sent} batches of {batch} bytes");
            credit -= batch as i64;
            credit += i64::from(window.consume(batch, share(sent)));
        }
    }

    #[test]
    fn credit_never_dries_up_whatever_the_size_of_batches_and_shares() {
        for batch in [1, 100, 999, 1000, 1001, 5000, 1_000_000] {
            all_arrive(batch, |_| 1000);
            all_arrive(batch, |sent| if sent % 100 < 50 { 1000 } else { 7000 });
        }
    }

    #[test]
    fn a_smaller_share_is_reached_by_giving_less_back() {
        let mut window = Window::new(1000);
        assert_eq!(window.consume(400, 500), 0);
        assert_eq!(window.consume(200, 500), 100);
        assert_eq!(window.open, 500);
    }
}
