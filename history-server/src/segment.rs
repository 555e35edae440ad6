//! Takes the lines out of one segment, as many as are readable.
//!
//! A segment is a zstd frame of JSON lines (or plain lines, for people who unpacked a log). It may end anywhere: what
//! comes before the damage is delivered, and the answer says that something is missing.

use std::io::{BufRead, BufReader, Read};

/// A line that is longer is damage, not a record.
const LINE_BYTES_MAX: u64 = 32 << 20;
/// A segment holds about 1 MiB of lines; a hundred times that is a damaged or hostile file.
const SEGMENT_BYTES_MAX: u64 = 256 << 20;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How a segment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Complete,
    /// The rest cannot be read.
    Cut {
        reason: String,
    },
}

/// Calls `each` with every whole line, without its line end.
pub fn for_each_line(bytes: &[u8], each: impl FnMut(&[u8])) -> End {
    if bytes.is_empty() {
        return End::Cut { reason: "the segment is empty".to_owned() };
    }
    if !bytes.starts_with(&ZSTD_MAGIC) && bytes.first() == Some(&b'{') {
        return lines(bytes, each);
    }
    match zstd::stream::read::Decoder::with_buffer(bytes) {
        Ok(decoder) => lines(decoder, each),
        Err(error) => End::Cut { reason: error.to_string() },
    }
}

fn lines(input: impl Read, mut each: impl FnMut(&[u8])) -> End {
    let mut input = BufReader::with_capacity(128 << 10, input.take(SEGMENT_BYTES_MAX));
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => return End::Complete,
            Ok(_) if line.last() == Some(&b'\n') => {
                line.pop();
                if !line.is_empty() {
                    each(&line);
                }
            }
            Ok(_) => return End::Cut { reason: "it ends in the middle of a record".to_owned() },
            Err(error) => return End::Cut { reason: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(bytes: &[u8]) -> (Vec<String>, End) {
        let mut lines = Vec::new();
        let end = for_each_line(bytes, |line| lines.push(String::from_utf8_lossy(line).into_owned()));
        (lines, end)
    }

    #[test]
    fn a_whole_segment_gives_all_its_lines() {
        let packed = zstd::encode_all(&b"{\"a\":1}\n{\"b\":2}\n"[..], 1).expect("encoding in memory");
        assert_eq!(lines_of(&packed), (vec!["{\"a\":1}".to_owned(), "{\"b\":2}".to_owned()], End::Complete));
    }

    #[test]
    fn plain_lines_are_read_as_well() {
        assert_eq!(lines_of(b"{\"a\":1}\n"), (vec!["{\"a\":1}".to_owned()], End::Complete));
    }

    #[test]
    fn a_segment_cut_at_any_byte_gives_a_prefix_and_says_so() {
        let text: String = (0..2000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let packed = zstd::encode_all(text.as_bytes(), 1).expect("encoding in memory");
        let whole = lines_of(&packed).0;
        for cut in (0..packed.len()).step_by(7) {
            let (lines, end) = lines_of(&packed[..cut]);
            assert_eq!(lines, whole[..lines.len()], "cut at {cut}");
            assert!(matches!(end, End::Cut { .. }), "cut at {cut}");
        }
    }

    #[test]
    fn garbage_is_a_cut_segment_without_lines() {
        let (lines, end) = lines_of(b"\x00\x01\x02 not a segment");
        assert!(lines.is_empty());
        assert!(matches!(end, End::Cut { .. }));
    }
}
