//! Who may touch the data of a job on shuffle workers.
//!
//! Coordinator, master and workers share a [`ClusterSecret`]. The token of a job is derived from it, so nobody has to keep
//! tokens: a restarted coordinator or worker finds the same ones. Executors are told the tokens of the jobs that they work
//! for and never the secret. Neither is ever printed, journaled or logged.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};

use crate::ids::JobId;

pub const TOKEN_BYTES: usize = 16;
/// Less than this could be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// Shown with every push and fetch of one job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct JobToken([u8; TOKEN_BYTES]);

impl JobToken {
    /// What is shown where tokens are switched off.
    pub const NONE: Self = Self([0; TOKEN_BYTES]);

    pub const fn from_bytes(bytes: [u8; TOKEN_BYTES]) -> Self {
        Self(bytes)
    }

    pub const fn to_bytes(self) -> [u8; TOKEN_BYTES] {
        self.0
    }
}

impl fmt::Debug for JobToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::NONE { "JobToken::NONE" } else { "JobToken(hidden)" })
    }
}

/// What a token of the cluster lets its holder do. One does not do for the other: orders are given over plain HTTP, so
/// whoever reads their token there must not get at the control calls too, which TLS hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To make the calls that the services make to each other.
    Control,
    /// To give orders over an admin view.
    Order,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Control => b"penstock control",
            Self::Order => b"penstock order",
        }
    }
}

/// What the services of one cluster share.
#[derive(Clone)]
pub struct ClusterSecret(hmac::Key);

/// Why a secret file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("reading the cluster secret {file}")]
    Read { file: PathBuf, source: io::Error },
    #[error(
        "the cluster secret {file} has fewer than {SECRET_BYTES_MIN} bytes: `openssl rand -hex 32` makes one"
    )]
    Weak { file: PathBuf },
}

impl ClusterSecret {
    /// Reads a secret file; none if no file is named, which switches tokens off.
    pub fn load(file: &Path) -> Result<Option<Self>, SecretError> {
        if file.as_os_str().is_empty() {
            return Ok(None);
        }
        let content = fs::read(file);
        let content = content.map_err(|source| SecretError::Read { file: file.to_owned(), source })?;
        let secret = Self::parse(&content);
        secret.map(Some).ok_or_else(|| SecretError::Weak { file: file.to_owned() })
    }

    /// White space around a secret does not count. None if it is too short to protect anything.
    pub fn parse(content: &[u8]) -> Option<Self> {
        let secret = content.trim_ascii();
        (secret.len() >= SECRET_BYTES_MIN).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    pub fn job_token(&self, job: JobId) -> JobToken {
        JobToken(self.tag(b"penstock job ", job.0.as_bytes()))
    }

    /// Compares in constant time.
    pub fn admits(&self, job: JobId, token: JobToken) -> bool {
        verify_slices_are_equal(&self.job_token(job).0, &token.0).is_ok()
    }

    /// What is shown with every call of this purpose, in hexadecimal.
    pub fn cluster_token(&self, purpose: Purpose) -> String {
        self.tag(purpose.label(), b"").iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Compares in constant time.
    pub fn admits_to(&self, purpose: Purpose, token: &[u8]) -> bool {
        verify_slices_are_equal(self.cluster_token(purpose).as_bytes(), token).is_ok()
    }

    /// The first half of an HMAC-SHA256.
    fn tag(&self, purpose: &[u8], subject: &[u8]) -> [u8; TOKEN_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose);
        context.update(subject);
        let tag = context.sign();
        tag.as_ref()[..TOKEN_BYTES].try_into().expect("a tag of SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn secret(text: &str) -> ClusterSecret {
        ClusterSecret::parse(text.as_bytes()).expect("long enough")
    }

    fn job(number: u128) -> JobId {
        JobId(Uuid::from_u128(number))
    }

    #[test]
    fn a_token_opens_its_own_job_in_its_own_cluster_and_nothing_else() {
        let (ours, others) = (secret("sixteen bytes of ours"), secret("sixteen bytes of others"));
        let token = ours.job_token(job(1));
        assert!(ours.admits(job(1), token));
        assert!(!ours.admits(job(2), token));
        assert!(!others.admits(job(1), token));
        assert!(!ours.admits(job(1), JobToken::NONE));
    }

    #[test]
    fn a_token_of_a_cluster_serves_its_own_purpose_in_its_own_cluster_and_nothing_else() {
        let (ours, others) = (secret("sixteen bytes of ours"), secret("sixteen bytes of others"));
        for (purpose, other) in [(Purpose::Control, Purpose::Order), (Purpose::Order, Purpose::Control)] {
            assert!(ours.admits_to(purpose, ours.cluster_token(purpose).as_bytes()));
            assert!(!ours.admits_to(other, ours.cluster_token(purpose).as_bytes()), "{purpose:?}");
            assert!(!ours.admits_to(purpose, others.cluster_token(purpose).as_bytes()), "{purpose:?}");
            assert!(!ours.admits_to(purpose, b""), "{purpose:?}");
        }
    }

    // Workers and coordinators of one build derive the same tokens after a restart, so the derivation never changes. Scripts
    // derive the token of orders themselves, as docs/operations.md says.
    #[test]
    fn the_derivation_is_frozen() {
        let secret = secret("a secret that everybody knows\n");
        let token = secret.job_token(job(0x0123_4567_89ab_cdef)).to_bytes();
        let hex: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, FROZEN);
        assert_eq!(secret.cluster_token(Purpose::Order), FROZEN_FOR_ORDERS);
        assert_eq!(
            secret.job_token(job(5)),
            self::secret("  a secret that everybody knows").job_token(job(5))
        );
    }

    const FROZEN: &str = "4876a020f2a88c38dee5a04866bc3034";
    const FROZEN_FOR_ORDERS: &str = "63e8ff1baed88f8c6cd6d67637a59fab";

    #[test]
    fn nothing_of_a_secret_or_token_is_shown() {
        let secret = secret("a secret that everybody knows");
        let shown = format!("{secret:?} {:?}", secret.job_token(job(1)));
        assert_eq!(shown, "ClusterSecret(hidden) JobToken(hidden)");
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(ClusterSecret::parse(b"  fifteen bytes  \n").is_none());
    }
}
