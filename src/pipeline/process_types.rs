//! The process types of a slug: the Procfile's over the buildpack's defaults.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::Error;
use crate::output::Output;
use crate::procfile::{self, Procfile};

/// Reads the Procfile that the build has left and puts it over the buildpack's defaults.
pub(super) fn discover(
    defaults: &BTreeMap<String, String>,
    app: &Path,
    out: &mut Output<'_>,
) -> Result<BTreeMap<String, String>> {
    out.step("Discovering process types")?;
    let declared = read_procfile(&app.join("Procfile"))?;
    for warning in &declared.warnings {
        out.problem(&format!("Warning: {warning}"))?;
    }
    for line in procfile::table(&declared.commands, defaults) {
        out.detail(&line)?;
    }
    let mut all = defaults.clone();
    all.extend(declared.commands);
    Ok(all)
}

/// The Procfile, if there is one. A link is refused: it could show a file of the server.
pub(super) fn read_procfile(path: &Path) -> Result<Procfile> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Procfile::default()),
        Ok(meta) if meta.is_symlink() => {
            return Err(Error::ProcfileKind {
                what: "a symbolic link",
            }
            .into());
        }
        Ok(meta) if meta.is_dir() => {
            return Err(Error::ProcfileKind {
                what: "a directory",
            }
            .into());
        }
        Ok(meta) if !meta.is_file() => return Err(Error::ProcfileKind { what: "a device" }.into()),
        _ => {}
    }
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .context("opening the Procfile")?;
    let mut bytes = Vec::new();
    let limit = procfile::MAX_BYTES as u64 + 1;
    file.take(limit)
        .read_to_end(&mut bytes)
        .context("reading the Procfile")?;
    Ok(Procfile::parse(&bytes)?)
}
