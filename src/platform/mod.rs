//! The platform: what must be remembered between builds.
//!
//! [`ledger`] keeps apps, tokens, builds, slugs and releases; [`resources`] shows them as the
//! Platform API does; [`settings`] is what the operator of a server chose.

pub mod clock;
pub mod ledger;
pub mod resources;
pub mod settings;
pub mod token;
