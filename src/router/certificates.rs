//! The certificates of a directory, by the names that they are for.
//!
//! `NAME.pem` or `NAME.crt` holds a chain and `NAME.key` its key; a directory in it, as ACME clients make
//! them, `fullchain.pem` and `privkey.pem`. The names are the certificate's own. What changes there
//! is taken up while the router runs; what cannot be read then leaves the old in use.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::http::tls::{TlsError, certified_key};

/// How old what is known of the directory may be.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why a directory's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the directory of certificates {} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} has no certificate with a key beside it", path.display())]
    Empty { path: PathBuf },
    #[error("the certificate {} is for no host name", path.display())]
    Nameless { path: PathBuf },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

type ByName = HashMap<String, Arc<CertifiedKey>>;

/// Files as they were when they were read.
type Seen = Vec<(PathBuf, Option<SystemTime>)>;

/// Certificates by host name, read anew when their directory changes.
#[derive(Debug)]
pub struct Certificates {
    dir: PathBuf,
    by_name: RwLock<ByName>,
    looked: Mutex<(Instant, Seen)>,
}

impl Certificates {
    /// Reads a directory.
    ///
    /// # Errors
    /// The operator's fault: there is none, or one that cannot be used.
    pub fn open(dir: &Path) -> Result<Self, CertificateError> {
        let pairs = pairs(dir)?;
        let seen = seen(&pairs);
        let by_name = read(&pairs)?;
        if by_name.is_empty() {
            let path = dir.to_owned();
            return Err(CertificateError::Empty { path });
        }
        Ok(Self {
            dir: dir.to_owned(),
            by_name: RwLock::new(by_name),
            looked: Mutex::new((Instant::now(), seen)),
        })
    }

    /// Whether there is a certificate for all names right below a domain.
    pub fn cover(&self, domain: &str) -> bool {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        by_name.contains_key(&format!("*.{domain}"))
    }

    fn look_again(&self) {
        // Who finds another at it goes on with what there is.
        let Ok(mut looked) = self.looked.try_lock() else {
            return;
        };
        if looked.0.elapsed() < LOOK_AGAIN {
            return;
        }
        looked.0 = Instant::now();
        let renewed = pairs(&self.dir).and_then(|pairs| {
            let now = seen(&pairs);
            if now == looked.1 {
                return Ok(None);
            }
            // Half-written files are looked at again when they have changed once more.
            looked.1 = now;
            read(&pairs).map(Some)
        });
        match renewed {
            Ok(None) => {}
            Ok(Some(by_name)) => {
                *self.by_name.write().unwrap_or_else(PoisonError::into_inner) = by_name;
                tracing::info!("took up renewed certificates");
            }
            Err(error) => tracing::error!(%error, "the old certificates stay in use"),
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.look_again();
        let name = hello.server_name()?.to_ascii_lowercase();
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        by_name.get(&name).cloned().or_else(|| {
            // A wildcard is for one label. Source: RFC 9525, section 6.3.
            let (_, parent) = name.split_once('.')?;
            by_name.get(&format!("*.{parent}")).cloned()
        })
    }
}

/// The chains and keys of a directory, sorted.
fn pairs(dir: &Path) -> Result<Vec<(PathBuf, PathBuf)>, CertificateError> {
    let error = |source| CertificateError::Read {
        path: dir.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let extension = path.extension().and_then(|text| text.to_str());
        if path.is_dir() {
            let pair = (path.join("fullchain.pem"), path.join("privkey.pem"));
            if pair.0.is_file() && pair.1.is_file() {
                found.push(pair);
            }
        } else if matches!(extension, Some("pem" | "crt")) {
            let key = path.with_extension("key");
            if key.is_file() {
                found.push((path, key));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn seen(pairs: &[(PathBuf, PathBuf)]) -> Seen {
    let changed = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let files = pairs.iter().flat_map(|(chain, key)| [chain, key]);
    files.map(|path| (path.clone(), changed(path))).collect()
}

fn read(pairs: &[(PathBuf, PathBuf)]) -> Result<ByName, CertificateError> {
    let mut by_name = ByName::new();
    for (chain, key) in pairs {
        let pair = Arc::new(certified_key(chain, key)?);
        let nameless = || CertificateError::Nameless {
            path: chain.clone(),
        };
        let own = pair.end_entity_cert().map_err(|_| nameless())?;
        let parsed = webpki::EndEntityCert::try_from(own).map_err(|_| nameless())?;
        let names = parsed.valid_dns_names().map(str::to_ascii_lowercase);
        let names = names.collect::<Vec<_>>();
        if names.is_empty() {
            return Err(nameless());
        }
        by_name.extend(names.into_iter().map(|name| (name, pair.clone())));
    }
    Ok(by_name)
}
