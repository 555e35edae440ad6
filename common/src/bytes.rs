//! Sizes in bytes as people write them: `512MiB`, `64 kB`, `1.5 GiB`, `4096`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    pub const fn as_u64(self) -> u64 {
        self.0
    }

    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size in bytes: write a number with an optional unit such as kB, MiB or GiB")]
pub struct ParseByteSizeError(String);

const BINARY: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
const DECIMAL: [(&str, u64); 4] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, ParseByteSizeError> {
        let refused = || ParseByteSizeError(text.to_owned());
        let trimmed = text.trim();
        let digits_end =
            trimmed.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits_end);
        let factor = factor(unit.trim()).ok_or_else(refused)?;
        let number = number.replace('_', "");
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(refused);
        }
        let bytes = number.parse::<f64>().map_err(|_| refused())? * factor as f64;
        if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(Self(bytes as u64)) } else { Err(refused()) }
    }
}

fn factor(unit: &str) -> Option<u64> {
    if unit.is_empty() || unit.eq_ignore_ascii_case("b") {
        return Some(1);
    }
    BINARY.iter().chain(&DECIMAL).find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)
}

/// The largest binary unit that shows the size exactly if there is one, else one decimal: `512MiB`, `1.4GiB`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((unit, factor)) = BINARY.iter().find(|(_, factor)| self.0 >= *factor) else {
            return f.pad(&format!("{}B", self.0));
        };
        if self.0.is_multiple_of(*factor) {
            f.pad(&format!("{}{unit}", self.0 / factor))
        } else {
            f.pad(&format!("{:.1}{unit}", self.0 as f64 / *factor as f64))
        }
    }
}

impl Serialize for ByteSize {
    /// Exact: what is shown rounded is written as a plain number of bytes.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = self.to_string();
        let exact = shown.parse::<ByteSize>().is_ok_and(|read| read == *self);
        serializer.serialize_str(&if exact { shown } else { self.0.to_string() })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units() {
        let cases = [
            ("4096", 4096),
            ("0", 0),
            ("12b", 12),
            ("512MiB", 512 << 20),
            ("512 mib", 512 << 20),
            ("1.5GiB", 3 << 29),
            ("64 kB", 64_000),
            ("1_000", 1000),
            ("2TB", 2_000_000_000_000),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "12 apples", "-1", "99999999999999TiB", "1.2.3kB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_survives_its_serialised_form() -> serde_json::Result<()> {
        for bytes in [0, 1, 1023, 1024, 1025, 512 << 20, (512 << 20) + 1, u64::MAX] {
            let text = serde_json::to_string(&ByteSize(bytes))?;
            assert_eq!(serde_json::from_str::<ByteSize>(&text)?, ByteSize(bytes), "{text}");
        }
        Ok(())
    }

    #[test]
    fn a_size_is_shown_in_its_largest_unit() {
        assert_eq!(ByteSize::mib(512).to_string(), "512MiB");
        assert_eq!(ByteSize((1 << 30) + (1 << 29)).to_string(), "1.5GiB");
        assert_eq!(ByteSize(17).to_string(), "17B");
    }
}
