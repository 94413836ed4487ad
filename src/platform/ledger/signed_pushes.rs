//! Pushes that their pushers have signed: what git sent, word for word.

use super::error::LedgerError;
use super::rows::SignedPush;
use super::{Ledger, new_id, sql};
use crate::platform::clock;

impl Ledger {
    /// Records a signed push.
    ///
    /// # Errors
    /// The caller's fault: there is no such app.
    pub fn record_signed_push(
        &self,
        app_id: &str,
        signer: Option<&str>,
        certificate: &str,
        user: &str,
    ) -> Result<SignedPush, LedgerError> {
        let push = SignedPush {
            id: new_id(),
            app_id: app_id.to_owned(),
            signer: signer.map(str::to_owned),
            certificate: certificate.to_owned(),
            user: user.to_owned(),
            created_at: clock::now(),
        };
        self.write(|c| sql::insert_signed_push(c, &push))?;
        Ok(push)
    }

    /// The signed pushes to an app, newest first.
    ///
    /// # Errors
    /// The platform's fault: the database.
    pub fn signed_pushes(&self, app_id: &str) -> Result<Vec<SignedPush>, LedgerError> {
        self.read(|c| sql::signed_pushes(c, app_id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{app, ledger};

    #[test]
    fn they_are_kept_as_long_as_their_app() {
        let ledger = ledger();
        let demo = app(&ledger, "demo");
        let one = ledger.record_signed_push(&demo.id, Some("ada"), "one", "me");
        let two = ledger.record_signed_push(&demo.id, None, "two", "me");
        let all = ledger.signed_pushes(&demo.id).unwrap();
        assert_eq!(all, [two.unwrap(), one.unwrap()]);
        ledger.destroy_app(&demo.id).unwrap();
        assert!(ledger.signed_pushes(&demo.id).unwrap().is_empty());
    }
}
