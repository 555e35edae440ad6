//! Whether compressing pays in an exchange, by the ratio that samples of it had.
//!
//! Random keys, hashes and what was compressed before do not shrink: there, a try of every batch costs time and saves
//! nothing. So a sample that saved too little turns compression off for a while, and the next one may turn it on again.

/// Of plain bodies: a sample is judged when it has so much.
const SAMPLE_BYTES: usize = 256 << 10;
/// At least one part in so many has to be saved.
const SAVED_PART_MIN: usize = 8;
/// Sent plain after a sample that saved too little, in sizes of that sample.
const PLAIN_SAMPLES: usize = 15;

#[derive(Debug, Default)]
pub(super) struct Sampling {
    plain_bytes: usize,
    packed_bytes: usize,
    /// To be sent as they are.
    skip_bytes: usize,
}

impl Sampling {
    /// Whether a body of so many bytes is to be compressed.
    pub fn compresses(&mut self, bytes: usize) -> bool {
        let compresses = self.skip_bytes == 0;
        self.skip_bytes = self.skip_bytes.saturating_sub(bytes);
        compresses
    }

    /// What became of a body that was compressed.
    pub fn saw(&mut self, plain_bytes: usize, packed_bytes: usize) {
        self.plain_bytes += plain_bytes;
        self.packed_bytes += packed_bytes;
        if self.plain_bytes < SAMPLE_BYTES {
            return;
        }
        let saved = self.plain_bytes.saturating_sub(self.packed_bytes);
        let skip_bytes =
            if saved < self.plain_bytes / SAVED_PART_MIN { PLAIN_SAMPLES * self.plain_bytes } else { 0 };
        *self = Self { skip_bytes, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: usize = 64 << 10;

    /// How many of `bodies` are compressed if each shrinks to `packed` bytes.
    fn compressed(sampling: &mut Sampling, bodies: usize, packed: usize) -> usize {
        let one = |_: &usize| {
            let compresses = sampling.compresses(BODY);
            if compresses {
                sampling.saw(BODY, packed);
            }
            compresses
        };
        (0..bodies).filter(one).count()
    }

    #[test]
    fn what_shrinks_is_always_compressed() {
        assert_eq!(compressed(&mut Sampling::default(), 1_000, BODY / 2), 1_000);
    }

    #[test]
    fn what_does_not_shrink_is_tried_once_in_sixteen_times() {
        assert_eq!(compressed(&mut Sampling::default(), 1_024, BODY), 64);
    }

    #[test]
    fn rows_that_begin_to_shrink_are_noticed() {
        let mut sampling = Sampling::default();
        compressed(&mut sampling, 100, BODY);
        let compressed = compressed(&mut sampling, 1_000, BODY / 4);
        assert!(compressed > 900, "{compressed}");
    }
}
