//! What is known of one runtime: its recipe, and the releases there are by now.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::recipe::{Recipe, Release, parse_releases};
use super::{Error, inventory_path, io_error, locked};

#[derive(Debug)]
pub(super) struct Known {
    pub recipe: Recipe,
    /// Those that the buildpack has.
    pub releases: Arc<Vec<Release>>,
    /// Those of the operator's own list, with the time of its file.
    pub own: Mutex<Option<(SystemTime, Arc<Vec<Release>>)>>,
}

impl Known {
    /// The operator's list, where there is one, as it is now; else the buildpack's.
    pub fn releases(&self, dir: &Path) -> Result<Arc<Vec<Release>>, Error> {
        let path = inventory_path(dir, &self.recipe.name);
        let Ok(written) = fs::metadata(&path).and_then(|meta| meta.modified()) else {
            return Ok(self.releases.clone());
        };
        let mut own = locked(&self.own);
        if let Some((since, releases)) = &*own
            && *since == written
        {
            return Ok(releases.clone());
        }
        let text = fs::read_to_string(&path).map_err(io_error(&path))?;
        let releases = Arc::new(parse_releases(&text)?);
        *own = Some((written, releases.clone()));
        Ok(releases)
    }
}
