//! Tokens: who may call. The ledger keeps the digest of a secret, never the secret.

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use subtle::ConstantTimeEq;

use super::error::LedgerError;
use super::rows::{Scope, Token};
use super::{Ledger, new_id, sql};
use crate::digest::Digest;
use crate::platform::clock;
use crate::platform::token::{Secret, digest_of_secret};

/// How exact `last_used_at` is: a write for every request would cost every request a disk sync.
const LAST_USED_STEP: SignedDuration = SignedDuration::from_hours(1);

impl Ledger {
    /// Makes a token. Names need not differ: clients choose them.
    ///
    /// # Errors
    /// The platform's fault: the database, or no random bytes.
    pub fn create_token(&self, name: &str) -> Result<(Token, Secret), LedgerError> {
        self.create_token_for(name, Scope::default())
    }

    /// The same for a part of what there is.
    ///
    /// # Errors
    /// As [`Ledger::create_token`].
    pub fn create_token_for(
        &self,
        name: &str,
        scope: Scope,
    ) -> Result<(Token, Secret), LedgerError> {
        let secret = Secret::generate().map_err(LedgerError::Random)?;
        let digest = digest_of_secret(secret.expose());
        let token = self.write(|c| insert(c, name, scope, digest, false))?;
        Ok((token, secret))
    }

    /// Takes a secret that the administrator keeps in a file. A secret that the file held before
    /// under this name is revoked; one that is known already changes nothing.
    ///
    /// # Errors
    /// The administrator's fault: the secret was revoked and must be replaced.
    pub fn adopt_token(&self, name: &str, secret: &str) -> Result<Token, LedgerError> {
        let digest = digest_of_secret(secret);
        self.write(|c| match sql::token_of_digest(c, digest)? {
            Some(token) if token.revoked_at.is_none() => Ok(token),
            Some(token) => Err(LedgerError::Revoked { name: token.name }),
            None => {
                sql::revoke_adopted_tokens(c, name, clock::now())?;
                insert(c, name, Scope::default(), digest, true)
            }
        })
    }

    /// Finds the token of a secret; none where there is no such token or it was revoked.
    ///
    /// The time it takes does not depend on how much of a secret is right: the digests of all
    /// tokens are compared, each to its end.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn token_of_secret(&self, secret: &str) -> Result<Option<Token>, LedgerError> {
        let asked = digest_of_secret(secret).to_string();
        let mut found = None;
        for (token, digest) in self.read(|c| sql::live_tokens_with_digests(c))? {
            if bool::from(digest.as_bytes().ct_eq(asked.as_bytes())) {
                found = Some(token);
            }
        }
        if let Some(token) = &mut found {
            let now = clock::now();
            if is_worth_noting(token.last_used_at, now) {
                self.write(|c| sql::set_token_used(c, &token.id, now))?;
                token.last_used_at = Some(now);
            }
        }
        Ok(found)
    }

    /// All tokens, oldest first, the revoked ones too.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn tokens(&self) -> Result<Vec<Token>, LedgerError> {
        self.read(|c| sql::tokens(c))
    }

    /// Makes a token's secret useless from now on.
    ///
    /// # Errors
    /// The caller's fault: no live token has this id or name, or several have the name.
    pub fn revoke_token(&self, id_or_name: &str) -> Result<Token, LedgerError> {
        self.write(|c| {
            let live = sql::live_tokens_with_digests(c)?;
            let mut tokens: Vec<Token> = live.into_iter().map(|(token, _)| token).collect();
            match tokens.iter().position(|token| token.id == id_or_name) {
                Some(index) => tokens = vec![tokens.swap_remove(index)],
                None => tokens.retain(|token| token.name == id_or_name),
            }
            let count = tokens.len();
            let mut token = tokens.pop().ok_or_else(|| LedgerError::NotFound {
                what: "token",
                name: id_or_name.to_owned(),
            })?;
            if count > 1 {
                return Err(LedgerError::Ambiguous {
                    what: "token",
                    name: id_or_name.to_owned(),
                    count,
                });
            }
            let now = clock::now();
            sql::set_token_revoked(c, &token.id, now)?;
            token.revoked_at = Some(now);
            Ok(token)
        })
    }
}

fn insert(
    c: &Connection,
    name: &str,
    scope: Scope,
    digest: Digest,
    adopted: bool,
) -> Result<Token, LedgerError> {
    let token = Token {
        id: new_id(),
        name: name.to_owned(),
        scope,
        created_at: clock::now(),
        last_used_at: None,
        revoked_at: None,
    };
    sql::insert_token(c, &token, digest, adopted)?;
    Ok(token)
}

fn is_worth_noting(last_used_at: Option<Timestamp>, now: Timestamp) -> bool {
    last_used_at.is_none_or(|then| now.duration_since(then) >= LAST_USED_STEP)
}

#[cfg(test)]
mod tests {
    use super::super::testing::ledger;
    use super::*;

    #[test]
    fn a_scope_is_kept() {
        let ledger = ledger();
        let scope = Scope {
            read_only: true,
            apps: Some(vec!["1".to_owned()]),
        };
        let (token, secret) = ledger.create_token_for("ci", scope.clone()).unwrap();
        let found = ledger.token_of_secret(secret.expose()).unwrap().unwrap();
        assert_eq!((&found.scope, &token.scope), (&scope, &scope));
        assert!(scope.sees("1") && !scope.sees("2"));
        assert!(Scope::default().sees("2"));
    }

    #[test]
    fn a_secret_finds_its_token_until_that_is_revoked() {
        let ledger = ledger();
        let (one, secret) = ledger.create_token("one").unwrap();
        let (two, other) = ledger.create_token("two").unwrap();
        let found = ledger.token_of_secret(secret.expose()).unwrap().unwrap();
        assert_eq!(found.id, one.id);
        assert!(found.last_used_at.is_some());
        assert_eq!(ledger.tokens().unwrap(), [found, two.clone()]);

        for wrong in ["", "slugline_", &secret.expose()[1..]] {
            assert_eq!(ledger.token_of_secret(wrong).unwrap(), None, "{wrong}");
        }
        assert!(ledger.revoke_token("one").unwrap().revoked_at.is_some());
        assert_eq!(ledger.token_of_secret(secret.expose()).unwrap(), None);
        let left = ledger.token_of_secret(other.expose()).unwrap().unwrap();
        assert_eq!(left.id, two.id);
        assert!(matches!(
            ledger.revoke_token(&one.id),
            Err(LedgerError::NotFound { what: "token", .. })
        ));
    }

    #[test]
    fn a_name_that_several_have_does_not_say_which() {
        let ledger = ledger();
        let (token, _) = ledger.create_token("laptop").unwrap();
        ledger.create_token("laptop").unwrap();
        assert!(matches!(
            ledger.revoke_token("laptop"),
            Err(LedgerError::Ambiguous { count: 2, .. })
        ));
        assert_eq!(ledger.revoke_token(&token.id).unwrap().id, token.id);
        ledger.revoke_token("laptop").unwrap();
    }

    #[test]
    fn a_new_secret_in_the_administrators_file_ends_the_old_one() {
        let ledger = ledger();
        let (other, _) = ledger.create_token("admin").unwrap();
        let first = ledger.adopt_token("admin", "s3cret-1").unwrap();
        assert_eq!(ledger.adopt_token("admin", "s3cret-1").unwrap(), first);
        let second = ledger.adopt_token("admin", "s3cret-2").unwrap();
        assert_eq!(ledger.token_of_secret("s3cret-1").unwrap(), None);
        let found = ledger.token_of_secret("s3cret-2").unwrap().unwrap();
        assert_eq!(found.id, second.id);
        let live = |id: &str| {
            let tokens = ledger.tokens().unwrap();
            tokens.iter().any(|t| t.id == id && t.revoked_at.is_none())
        };
        assert!(live(&other.id), "a token that was made, not adopted, stays");
        assert!(matches!(
            ledger.adopt_token("admin", "s3cret-1"),
            Err(LedgerError::Revoked { .. })
        ));
    }

    #[test]
    fn the_file_holds_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        let (_, secret) = ledger.create_token("one").unwrap();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let needle = &secret.expose().as_bytes()[9..];
            assert!(!bytes.windows(needle.len()).any(|window| window == needle));
        }
    }

    #[test]
    fn last_use_is_noted_once_an_hour() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert!(is_worth_noting(None, at(0)));
        assert!(!is_worth_noting(Some(at(0)), at(3599)));
        assert!(is_worth_noting(Some(at(0)), at(3600)));
    }
}
