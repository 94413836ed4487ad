//! Who asks: the token in a request's `Authorization`, by Basic (as the password) or Bearer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Request};

use super::limits::Attempt;
use super::{Peer, Server};
use crate::platform::ledger::{App, LedgerError, Token};

/// The token's secret that a request carries, if it carries one.
pub(super) fn secret(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (_, password) = pair.split_once(':')?;
    Some(password.to_owned())
}

/// The token that a request is made with; none where it is missing, unknown or revoked.
///
/// An address that has shown many wrong ones has to wait before the next is looked at.
pub(super) async fn token<B>(
    server: &Server,
    request: &Request<B>,
) -> Result<Option<Token>, LedgerError> {
    let Some(secret) = secret(request.headers()) else {
        return Ok(None);
    };
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    if let Some(address) = peer {
        match server.gate.attempt(address) {
            Attempt::Free => {}
            Attempt::Delayed(_waiting) => {
                tracing::debug!(%address, "a token has to wait");
                tokio::time::sleep(server.limits.wrong_token_delay).await;
            }
            Attempt::Refused => return Ok(None),
        }
    }
    let ledger = server.platform.ledger.clone();
    let found = tokio::task::spawn_blocking(move || ledger.token_of_secret(&secret)).await;
    // A panic in the ledger is nobody's token.
    let found = found.unwrap_or(Ok(None));
    if let (Ok(None), Some(address)) = (&found, peer) {
        server.gate.failed(address);
    }
    found
}

/// Why a token is not enough.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("this token may look and not change anything")]
    ReadOnly,
    #[error("this token is for some apps alone")]
    AppsAlone,
}

/// The app, if the token sees it; else what is said of one that there is not, so that nobody learns
/// which there are.
pub(super) fn visible(
    token: &Token,
    found: Result<App, LedgerError>,
    name_or_id: &str,
) -> Result<App, LedgerError> {
    match found {
        Ok(app) if !token.scope.sees(&app.id) => Err(LedgerError::NotFound {
            what: "app",
            name: name_or_id.to_owned(),
        }),
        found => found,
    }
}

/// Requires a token that may change what it sees.
pub(super) fn may_change(token: &Token) -> Result<(), AccessError> {
    if token.scope.read_only {
        return Err(AccessError::ReadOnly);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        secret(&headers)
    }

    #[test]
    fn basic_and_bearer_carry_the_same_secret() {
        let basic = |pair: &str| of(&format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(of("Bearer s3cret").as_deref(), Some("s3cret"));
        assert_eq!(basic("heroku:s3cret").as_deref(), Some("s3cret"));
        assert_eq!(basic(":a:b").as_deref(), Some("a:b"));
        assert_eq!(basic("no-colon"), None);
        assert_eq!(of("Basic ???"), None);
        assert_eq!(of("Digest x"), None);
        assert_eq!(of("Bearer"), None);
    }
}
