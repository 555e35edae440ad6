//! Certificates and keys as files, and what they are read into.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore, ServerConfig,
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
        server::WebPkiClientVerifier,
        version::TLS13,
    },
};

/// TLS is off while none of these is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// PEM file of the certificates that others are verified with. Setting it switches TLS on.
    pub ca_file: PathBuf,
    /// PEM file of this process's own certificate chain. Needed by whoever listens, and by whoever connects to those that
    /// demand it.
    pub certificate_file: PathBuf,
    /// PEM file of the key of the certificate.
    pub key_file: PathBuf,
    /// Name that certificates of servers must hold. Empty: the host or address that is connected to.
    pub server_name: String,
    /// Refuses clients without a certificate.
    pub demand_client_certificates: bool,
}

impl TlsFiles {
    pub fn are_named(&self) -> bool {
        *self != Self::default()
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("reading {file}: {source}")]
    Read { file: PathBuf, source: pem::Error },
    #[error("{file} holds no certificate")]
    Empty { file: PathBuf },
    #[error("{file} cannot be used: {source}")]
    Refused { file: PathBuf, source: rustls::Error },
    #[error("the certificates of {file} cannot verify clients: {source}")]
    Verifier { file: PathBuf, source: rustls::server::VerifierBuilderError },
    #[error("`tls.ca_file` must name the certificates that others are verified with")]
    NoAuthority,
    #[error("`tls.certificate_file` and `tls.key_file` must be set where a process listens with TLS")]
    NoCertificate,
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::other(error)
    }
}

/// What the files held when they were read.
pub(super) struct Loaded {
    pub connector: TlsConnector,
    pub acceptor: Option<TlsAcceptor>,
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Loaded {
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        if files.ca_file.as_os_str().is_empty() {
            return Err(TlsError::NoAuthority);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.ca_file)? {
            roots.add(certificate).map_err(|source| refused(&files.ca_file, source))?;
        }
        let (roots, identity) = (Arc::new(roots), identity(files)?);
        let connector = client(files, &provider, &roots, identity.as_ref())?;
        let acceptor = identity.map(|identity| server(files, &provider, roots, identity)).transpose()?;
        Ok(Self { connector, acceptor })
    }
}

fn client(
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    identity: Option<&Identity>,
) -> Result<TlsConnector, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| refused(&files.ca_file, source))?
        .with_root_certificates(Arc::clone(roots));
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|source| refused(&files.certificate_file, source))?,
    };
    Ok(Arc::new(config).into())
}

fn server(
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    (chain, key): Identity,
) -> Result<TlsAcceptor, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| refused(&files.certificate_file, source))?;
    let builder = if files.demand_client_certificates {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
        let verifier =
            verifier.map_err(|source| TlsError::Verifier { file: files.ca_file.clone(), source })?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(chain, key);
    Ok(Arc::new(config.map_err(|source| refused(&files.certificate_file, source))?).into())
}

fn identity(files: &TlsFiles) -> Result<Option<Identity>, TlsError> {
    if files.certificate_file.as_os_str().is_empty() {
        return Ok(None);
    }
    let chain = certificates(&files.certificate_file)?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file);
    let key = key.map_err(|source| TlsError::Read { file: files.key_file.clone(), source })?;
    Ok(Some((chain, key)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read { file: file.to_owned(), source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { file: file.to_owned() });
    }
    Ok(certificates)
}

fn refused(file: &Path, source: rustls::Error) -> TlsError {
    TlsError::Refused { file: file.to_owned(), source }
}
