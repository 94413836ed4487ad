//! Archives by http or https, within limits, and with their checksum.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};

use crate::digest::{Digest, Hashing};

/// Largest archive that is fetched, compressed.
pub const LIMIT_BYTES: u64 = 1 << 30;

/// Longest time that a fetch may take.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Why an archive could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the URL {url:?} is neither http nor https")]
    Scheme { url: String },
    #[error("the checksum {text:?} is not of the form SHA256:<64 hex digits>")]
    ChecksumForm { text: String },
    #[error("what was fetched has the checksum {got}, and {expected} was announced")]
    Checksum { expected: Digest, got: Digest },
    #[error("what was fetched is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error("fetching {url}")]
    Http {
        url: String,
        source: Box<ureq::Error>,
    },
    /// Not by the other end, but by us.
    #[error("not connected to {reason}")]
    Refused { reason: String },
    /// A source of this server's own that is still empty.
    #[error("nothing was put to this source yet")]
    NotPut,
    #[error("reading {url}")]
    Read { url: String, source: io::Error },
    #[error("the build was cancelled")]
    Cancelled,
    #[error("{path}")]
    Io { path: String, source: io::Error },
}

/// Fetches `url`, by way of `proxy` where one is given, into the new file `dest` and gives its
/// digest, which is the one `expected`, if any.
///
/// # Errors
/// The caller's: the URL, what is behind it, or its checksum. The platform's: [`FetchError::Io`].
pub fn fetch(
    url: &str,
    expected: Option<Digest>,
    dest: &Path,
    proxy: Option<&str>,
    cancel: &AtomicBool,
) -> Result<Digest, FetchError> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(FetchError::Scheme {
            url: url.to_owned(),
        });
    }
    // A URL may carry a signature: messages show it without the query.
    let shown = url.split(['?', '#']).next().unwrap_or_default().to_owned();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    let invalid = |source| FetchError::Http {
        url: shown.clone(),
        source: Box::new(source),
    };
    let proxy = proxy.map(ureq::Proxy::new).transpose().map_err(invalid)?;
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIME_LIMIT))
        .tls_config(tls)
        .proxy(proxy)
        .build();
    let mut response = ureq::Agent::new_with_config(config)
        .get(url)
        .call()
        .map_err(|error| FetchError::Http {
            url: shown.clone(),
            source: Box::new(error),
        })?;
    let io_error = |source| FetchError::Io {
        path: dest.display().to_string(),
        source,
    };
    let mut file = Hashing::new(File::create_new(dest).map_err(io_error)?);
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if cancel.load(Ordering::SeqCst) {
            return Err(FetchError::Cancelled);
        }
        let n = body.read(&mut buffer).map_err(|source| FetchError::Read {
            url: shown.clone(),
            source,
        })?;
        if n == 0 {
            break;
        }
        file.write_all(&buffer[..n]).map_err(io_error)?;
        if file.seen_bytes() > LIMIT_BYTES {
            return Err(FetchError::TooLarge {
                limit_bytes: LIMIT_BYTES,
            });
        }
    }
    let (_, got, _) = file.finish();
    match expected {
        Some(expected) if expected != got => Err(FetchError::Checksum { expected, got }),
        _ => Ok(got),
    }
}

/// Reads a checksum of the Platform API's form.
///
/// # Errors
/// The caller's: it has another form.
pub fn parse_checksum(text: &str) -> Result<Digest, FetchError> {
    let error = || FetchError::ChecksumForm {
        text: text.chars().take(100).collect(),
    };
    let (name, digits) = text.split_once(':').ok_or_else(error)?;
    if !name.eq_ignore_ascii_case("sha256") {
        return Err(error());
    }
    format!("sha256:{}", digits.to_ascii_lowercase())
        .parse()
        .map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_heroku_s() {
        let digest = Digest::of(b"x");
        assert_eq!(
            parse_checksum(&format!("SHA256:{}", digest.hex())).unwrap(),
            digest
        );
        assert!(parse_checksum("MD5:00").is_err());
        assert!(parse_checksum("SHA256:00").is_err());
    }

    #[test]
    fn only_http_is_fetched() {
        let dir = tempfile::tempdir().unwrap();
        for url in ["file:///etc/passwd", "ftp://x/y", "/etc/passwd", "--help"] {
            let error = fetch(
                url,
                None,
                &dir.path().join("x"),
                None,
                &AtomicBool::new(false),
            )
            .unwrap_err();
            assert!(matches!(error, FetchError::Scheme { .. }), "{url}");
        }
    }
}
