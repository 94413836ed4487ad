//! What keeps the store from growing for ever: blobs that nobody needs are removed, but for those
//! that somebody has pinned.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;

use super::{Platform, clock};
use crate::digest::Digest;
use crate::store::Collected;

/// How long a blob that nobody names is kept, where the caller does not say.
pub const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

impl Platform {
    /// Removes the blobs that no slug of an app names and nobody has pinned, and that were last put
    /// before the grace period. While builds run it is at least as long as a build may take: what
    /// they have put may not be recorded yet.
    ///
    /// # Errors
    /// The platform's: the ledger or the store does not work. Blobs may then be removed already.
    pub(super) fn collect_blobs(&self, grace: Duration, dry_run: bool) -> Result<Collected> {
        // In this order: a build that begins after the look at those that run puts its blobs after
        // `now`, and the store keeps them; one that has ended before it has its slug in the ledger.
        let now = clock::system_now();
        let grace = match self.builds_under_way() {
            0 => grace,
            _ => grace.max(self.options.machine.limits.time),
        };
        let needed = self.ledger.slug_blobs()?;
        let needed = needed
            .iter()
            .flat_map(|slug| [slug.digest, slug.manifest])
            .collect::<HashSet<_>>();
        let collected = self.store.collect(&needed, now, grace, dry_run)?;
        tracing::info!(
            removed = collected.removed.len(),
            bytes = collected.removed_bytes,
            kept = collected.kept,
            dry_run,
            "collected blobs"
        );
        Ok(collected)
    }

    /// Keeps a blob, and of a slug that an app has its manifest too, whatever becomes of the app.
    ///
    /// # Errors
    /// The caller's: there is no such blob. The platform's: the store cannot be written to.
    pub fn pin_blob(&self, digest: &Digest) -> Result<()> {
        for blob in self.pinned_with(digest)? {
            // It must be there, and stay: so it is pinned before it is looked for.
            self.store.pin(&blob)?;
            if let Err(error) = self.store.open_blob(&blob) {
                self.store.unpin(&blob)?;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Ends that; says whether it was pinned.
    ///
    /// # Errors
    /// The platform's: the store cannot be written to.
    pub fn unpin_blob(&self, digest: &Digest) -> Result<bool> {
        let mut was = false;
        for blob in self.pinned_with(digest)? {
            was |= self.store.unpin(&blob)?;
        }
        Ok(was)
    }

    fn pinned_with(&self, digest: &Digest) -> Result<Vec<Digest>> {
        let slugs = self.ledger.slug_blobs()?;
        let slug = slugs.iter().find(|slug| slug.digest == *digest);
        Ok(std::iter::once(*digest)
            .chain(slug.map(|slug| slug.manifest))
            .collect())
    }
}
