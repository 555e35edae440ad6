//! The CRC32C of many batches from the checksums that they carry, without a look at their payloads.
//!
//! A CRC is the remainder of a polynomial over GF(2): the one of `a` before `b` is that of `a` times x to the power of the
//! bits of `b`, plus that of `b`. The way of zlib's `crc32_combine`, with the powers made at compile time.

use super::{
    batch::{BATCH_HEADER_BYTES, BatchHeader},
    crc32c::crc32c_append,
};

/// Of CRC32C, with the highest power in the lowest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;
/// x^8, x^16, x^32, ...: what one byte, two bytes, four bytes multiply by.
const POWERS: [u32; 32] = powers();
/// Below, going over the bytes is faster.
const COMBINE_FROM_BYTES: usize = 8 << 10;

/// The checksum of everything before a record and of the record, whose header was checked when it came in.
pub fn checksum_with(before: u32, record: &[u8]) -> u32 {
    if record.len() < COMBINE_FROM_BYTES {
        return crc32c_append(before, record);
    }
    match BatchHeader::parse(record) {
        Ok(header) if header.record_bytes() == record.len() => {
            let with_header = crc32c_append(before, &record[..BATCH_HEADER_BYTES]);
            combine(with_header, header.crc32c, header.length)
        }
        _ => crc32c_append(before, record),
    }
}

/// The checksum of bytes that are followed by `length` bytes with the checksum `behind`.
fn combine(before: u32, behind: u32, length: u32) -> u32 {
    let bits = (0..32).filter(|bit| length >> bit & 1 == 1);
    bits.fold(before, |product, bit| multiply(product, POWERS[bit])) ^ behind
}

/// Modulo the polynomial.
const fn multiply(mut a: u32, b: u32) -> u32 {
    let (mut product, mut factor) = (0, b);
    while a != 0 {
        if a & ONE != 0 {
            product ^= factor;
        }
        a <<= 1;
        factor = if factor & 1 == 1 { factor >> 1 ^ POLYNOMIAL } else { factor >> 1 };
    }
    product
}

const fn powers() -> [u32; 32] {
    let mut powers = [ONE >> 8; 32];
    let mut at = 1;
    while at < 32 {
        powers[at] = multiply(powers[at - 1], powers[at - 1]);
        at += 1;
    }
    powers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::crc32c;
    use crate::ids::{AttemptNumber, BatchId, TaskIndex};

    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![0_usize..100, 8_000_usize..8_300, 60_000_usize..70_000, 100_000_usize..400_000]
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in any::<prop::sample::Index>()) {
            let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
            let combined = combine(crc32c(a), crc32c(b), b.len() as u32);
            prop_assert_eq!(combined, crc32c(&bytes));
        }

        #[test]
        fn a_record_counts_as_its_bytes_do(length in 0_usize..40_000, byte in any::<u8>(), before in any::<u32>(), damaged in any::<bool>()) {
            let payload = vec![byte; length];
            let header = BatchHeader::of(TaskIndex(1), AttemptNumber(2), BatchId(3), 4, &payload);
            let mut record = [&header.encode()[..], &payload].concat();
            // Without a header that holds, the bytes themselves count.
            record[0] ^= u8::from(damaged);
            prop_assert_eq!(checksum_with(before, &record), crc32c_append(before, &record));
        }

        #[test]
        fn records_of_any_size_add_up_to_their_part(lengths in proptest::collection::vec(length(), 0..12), byte in any::<u8>()) {
            let record = |(map, length): (u32, &usize)| {
                let payload: Vec<u8> = (0..*length).map(|at| byte.wrapping_add(at as u8)).collect();
                let header = BatchHeader::of(TaskIndex(map), AttemptNumber(2), BatchId(3), 4, &payload);
                [&header.encode()[..], &payload].concat()
            };
            let records: Vec<_> = (0..).zip(&lengths).map(record).collect();
            let combined = records.iter().fold(0, |before, record| checksum_with(before, record));
            prop_assert_eq!(combined, crc32c(&records.concat()));
        }
    }

    /// A payload that changed after it came in shows: what was checked then is what counts.
    #[test]
    fn the_checksum_is_that_of_what_came_in() {
        let payload = vec![7; 20_000];
        let header = BatchHeader::of(TaskIndex(1), AttemptNumber(2), BatchId(3), 4, &payload);
        let mut record = [&header.encode()[..], &payload].concat();
        let checksum = checksum_with(0, &record);
        record[10_000] ^= 1;
        assert_eq!(checksum_with(0, &record), checksum);
        assert_ne!(crc32c(&record), checksum);
    }
}
