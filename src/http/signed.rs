//! URLs that work without a token until they expire, for those who only got a link: build output,
//! slugs, sources.
//!
//! The signature covers method, path and expiry, so that a link to read is no link to write.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::digest::hex;
use crate::platform::clock;

/// How long a link works.
const LIFETIME_SECONDS: i64 = 24 * 3600;

/// How old a push certificate may be: its signer may have had to type a passphrase.
const NONCE_SECONDS: i64 = 600;

/// Signs URLs with the server's own key.
pub(super) struct Signer {
    key: Vec<u8>,
}

impl Signer {
    pub(super) fn new(key: &[u8]) -> Self {
        Self { key: key.to_vec() }
    }

    /// `path?expires=…&signature=…` for one method.
    pub(super) fn sign(&self, method: &str, path: &str) -> String {
        let expires = clock::now().as_second() + LIFETIME_SECONDS;
        format!(
            "{path}?expires={expires}&signature={}",
            self.signature(method, path, expires)
        )
    }

    /// Whether a request's query holds a valid signature that has not expired.
    pub(super) fn allows(&self, method: &str, path: &str, query: &str) -> bool {
        let value = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let Some(expires) = value("expires").and_then(|text| text.parse::<i64>().ok()) else {
            return false;
        };
        let given = value("signature").unwrap_or_default();
        let right = self.signature(method, path, expires);
        let equal = subtle::ConstantTimeEq::ct_eq(given.as_bytes(), right.as_bytes());
        bool::from(equal) && clock::now().as_second() < expires
    }

    /// What a signed push has to repeat: of one app, for some minutes.
    pub(super) fn nonce(&self, app_id: &str) -> String {
        self.nonce_of(app_id, clock::now().as_second())
    }

    /// Whether a nonce is one of ours, for this app and not too old.
    pub(super) fn knows_nonce(&self, app_id: &str, nonce: &str) -> bool {
        let made = nonce
            .split_once('-')
            .and_then(|(made, _)| made.parse().ok());
        let Some(made) = made else { return false };
        let right = self.nonce_of(app_id, made);
        let equal = subtle::ConstantTimeEq::ct_eq(nonce.as_bytes(), right.as_bytes());
        let age = clock::now().as_second() - made;
        bool::from(equal) && (0..=NONCE_SECONDS).contains(&age)
    }

    fn nonce_of(&self, app_id: &str, made: i64) -> String {
        format!("{made}-{}", self.signature("NONCE", app_id, made))
    }

    fn signature(&self, method: &str, path: &str, expires: i64) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(format!("{method}\n{path}\n{expires}").as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_for_one_app_and_some_minutes() {
        let signer = Signer::new(b"key");
        let nonce = signer.nonce("one");
        assert!(signer.knows_nonce("one", &nonce));
        assert!(!signer.knows_nonce("two", &nonce));
        assert!(!Signer::new(b"other").knows_nonce("one", &nonce));
        let old = signer.nonce_of("one", clock::now().as_second() - NONCE_SECONDS - 1);
        assert!(!signer.knows_nonce("one", &old));
        for wrong in ["", "1", "x-1", "-", &nonce[1..]] {
            assert!(!signer.knows_nonce("one", wrong), "{wrong}");
        }
    }

    #[test]
    fn a_link_is_good_for_one_method_and_path() {
        let signer = Signer::new(b"key");
        let url = signer.sign("GET", "/blobs/x");
        let query = url.split_once('?').unwrap().1;
        assert!(signer.allows("GET", "/blobs/x", query));
        assert!(!signer.allows("PUT", "/blobs/x", query));
        assert!(!signer.allows("GET", "/blobs/y", query));
        assert!(!Signer::new(b"other").allows("GET", "/blobs/x", query));
        assert!(!signer.allows("GET", "/blobs/x", ""));
        let late = format!(
            "expires=1&signature={}",
            signer.signature("GET", "/blobs/x", 1)
        );
        assert!(!signer.allows("GET", "/blobs/x", &late));
    }
}
