//! TLS: a certificate chain and its key, from PEM files to what a listener needs.
//!
//! Speaks TLS 1.2 and 1.3, and offers HTTP/2 and HTTP/1.1. A renewed certificate is taken up while
//! the server runs: the files are looked at again at most every few seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_platform_verifier::BuilderVerifierExt;

/// How old what is known of the files may be.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{} is no PEM file with a {what}", path.display())]
    Pem {
        path: PathBuf,
        what: &'static str,
        source: rustls::pki_types::pem::Error,
    },
    #[error("{} has no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("the key {} cannot be used with the certificate {}", key.display(), certificate.display())]
    Pair {
        certificate: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
    #[error("TLS cannot be spoken")]
    Versions(#[source] rustls::Error),
}

/// Reads a certificate chain, the server's own certificate first, and its key.
///
/// # Errors
/// The operator's fault: a file cannot be read or holds something else, or the two do not belong
/// together.
pub fn certified_key(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let pem = |path: &Path, what| {
        let path = path.to_owned();
        move |source| TlsError::Pem { path, what, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(certificate, "certificate"))?;
    if chain.is_empty() {
        let path = certificate.to_owned();
        return Err(TlsError::Empty { path });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(pem(key, "private key"))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|source| {
        TlsError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        }
    })
}

/// What a listener needs, with certificates by any rule; offers HTTP/2 and HTTP/1.1.
///
/// # Errors
/// The platform's fault: the cipher suites are not those of TLS 1.2 and 1.3.
pub fn server_config(
    certificates: Arc<dyn rustls::server::ResolvesServerCert>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What a client needs, who trusts what this machine trusts.
///
/// # Errors
/// The platform's fault: as [`server_config`], or the machine trusts nobody.
pub fn client_config() -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(TlsError::Versions)?;
    Ok(config.with_no_client_auth())
}

/// One certificate for every name, read anew when its files change.
#[derive(Debug)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    pair: Arc<CertifiedKey>,
    /// When the two files were changed last, as it was seen when they were read.
    changed: [Option<SystemTime>; 2],
    looked: Instant,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// As [`certified_key`].
    pub fn open(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let changed = [changed(chain), changed(key)];
        let pair = Arc::new(certified_key(chain, key)?);
        Ok(Self {
            chain: chain.to_owned(),
            key: key.to_owned(),
            current: Mutex::new(Current {
                pair,
                changed,
                looked: Instant::now(),
            }),
        })
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

impl rustls::server::ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_AGAIN {
            current.looked = Instant::now();
            let changed = [changed(&self.chain), changed(&self.key)];
            if changed != current.changed {
                // Half-written files are looked at again when they have changed once more.
                current.changed = changed;
                match certified_key(&self.chain, &self.key) {
                    Ok(pair) => {
                        current.pair = Arc::new(pair);
                        tracing::info!("took up a renewed certificate");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the old certificate stays in use");
                    }
                }
            }
        }
        Some(current.pair.clone())
    }
}
