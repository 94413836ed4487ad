//! The platform: what must be remembered between builds.
//!
//! [`ledger`] keeps apps, tokens, builds, slugs and releases.

pub mod clock;
pub mod ledger;
pub mod token;
