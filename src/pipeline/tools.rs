//! The server's side of a build: what `slugline buildpack-tool` finds inside, and who answers it.

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::runtimes::{self, BuildRuntimes};
use super::snapshots::Snapshots;
use crate::compile::Report;
use crate::sandbox::{self, Lower, Root, Sandbox, TOOL_DIR};
use crate::stack::Stack;
use crate::tool::{Answer, RECORDED, Request, Server};

/// What a build's requests are answered with.
pub(super) struct Tools {
    dir: PathBuf,
    snapshots: Arc<Snapshots>,
    runtimes: Arc<BuildRuntimes>,
}

impl Tools {
    /// Makes the directory that builds see as [`TOOL_DIR`]. `kept` is where the app's snapshots
    /// stay; without it they end with the build.
    pub fn new(
        sandbox: &Sandbox,
        root: &mut Root,
        scratch: &Path,
        kept: Option<&Path>,
        stack: &Stack,
        (runtimes, trees): (BuildRuntimes, PathBuf),
    ) -> Result<Self> {
        let dir = scratch.join("tool");
        let snapshots =
            kept.map_or_else(|| scratch.join("snapshots"), |kept| kept.join("snapshots"));
        let snapshots =
            Snapshots::open(&snapshots, stack.key()).context("opening the snapshots")?;
        let shown = show(sandbox, &dir, stack, [snapshots.trees(), trees]);
        root.show_tools(&dir, &shown.context("preparing the build's tools")?)?;
        Ok(Self {
            dir,
            snapshots: Arc::new(snapshots),
            runtimes: Arc::new(runtimes),
        })
    }

    /// Gives the next buildpack what it has reported of the slug that is made again, where one is.
    pub fn give(&self, report: Option<&Report>) -> Result<()> {
        let path = self.dir.join(RECORDED);
        match report {
            Some(report) => fs::write(&path, serde_json::to_vec(report)?),
            None => fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        }
        .with_context(|| path.display().to_string())
    }

    /// Answers from now on, until what it gives is dropped. In `build_dir`, a directory of the root
    /// as the server sees it, snapshots can be shown without being copied.
    pub fn start(&self, root: &Root, build_dir: &Path) -> Result<Server> {
        let (own, runtimes) = (self.snapshots.clone(), self.runtimes.clone());
        let (overlays, build_dir) = (root.overlays().clone(), build_dir.to_owned());
        let adopting = overlays.clone();
        let lay = move |lower: Lower<'_>, shown: &Path, at: &str| {
            overlays.lay(lower, shown, at.as_ref(), &build_dir)
        };
        let handler = move |request, body: &mut dyn Read| match request {
            Request::CacheRestore { key, over } => {
                let Some(found) = own.find(&key) else {
                    return Answer::Missing;
                };
                let inside = Path::new(TOOL_DIR).join(SNAPSHOTS).join(&found.name);
                let over = over.filter(|_| found.files >= OVERLAY_FILES);
                let lower = Lower {
                    tree: &found.tree,
                    files: found.files,
                    adopt: true,
                };
                laid_or(over.map(|at| lay(lower, &inside, &at)), || Answer::Found {
                    path: inside.display().to_string(),
                })
            }
            Request::CacheSave { key, later: false } => own.save(&key, body),
            Request::CacheSave { key, later: true } => {
                let overlays = adopting.clone();
                let adopt = move |tree: &Path| {
                    // The next build that it is laid in would do so.
                    if let Err(error) = overlays.adopt(tree) {
                        tracing::warn!(%error, "a snapshot keeps its owner");
                    }
                };
                Snapshots::save_later(&own, key, body, adopt)
            }
            Request::HandedFind { name } => runtimes.handed(&name),
            Request::HandOver { name } => runtimes.hand_over(&name, body),
            Request::RuntimeList { name, here } => runtimes.list(&name, here),
            Request::RuntimeGet {
                name,
                release,
                show,
            } => match runtimes.get(&name, &release) {
                Ok(obtained) => {
                    let show = show.and_then(|show| {
                        let (tree, inside) = runtimes::part(&obtained, &show.part)?;
                        // It is for all builds, whoever their users are.
                        let lower = Lower {
                            tree: &tree,
                            files: obtained.kept.files,
                            adopt: false,
                        };
                        Some(lay(lower, &inside, &show.over))
                    });
                    laid_or(show, || Answer::Runtime {
                        path: runtimes::inside(&obtained).display().to_string(),
                        origin: obtained.kept.origin.clone(),
                        notes: obtained.notes.clone(),
                    })
                }
                Err(answer) => answer,
            },
        };
        Server::start(&self.dir, Arc::new(handler)).context("listening for the build")
    }

    /// The runtimes that the build has asked for.
    pub fn runtimes(&self) -> &BuildRuntimes {
        &self.runtimes
    }
}

/// The answer where a tree was to be shown over a directory.
fn laid_or(
    laid: Option<Result<bool, sandbox::Error>>,
    otherwise: impl FnOnce() -> Answer,
) -> Answer {
    match laid.transpose() {
        Ok(Some(true)) => Answer::Laid,
        Ok(_) => otherwise(),
        Err(error) => Answer::Refused {
            message: format!("{:#}", anyhow::Error::new(error)),
        },
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        if let Err(error) = self.snapshots.sweep() {
            tracing::warn!(%error, "old snapshots stay behind");
        }
    }
}

const SNAPSHOTS: &str = "snapshots";

/// From how many files on a snapshot is shown as an overlay: for fewer, a copy takes a fraction of a
/// second, and has no border that links and renames cannot cross.
const OVERLAY_FILES: usize = 5000;

/// Runs the binary with the libraries that it was started with, on a stack that may have others.
const STARTER: &str =
    "#!/bin/sh\nexec DIR/lib/LOADER --library-path DIR/lib DIR/lib/slugline \"$@\"\n";

/// Makes the tools' directory with its mount points; gives what is to be mounted on them.
fn show(
    sandbox: &Sandbox,
    dir: &Path,
    stack: &Stack,
    trees: [PathBuf; 2],
) -> io::Result<Vec<(PathBuf, String)>> {
    let inside = [SNAPSHOTS, runtimes::INSIDE];
    for name in ["", "bin", "lib"].into_iter().chain(inside) {
        let made = dir.join(name);
        fs::create_dir(&made)?;
        fs::set_permissions(&made, Permissions::from_mode(0o755))?;
    }
    let program = program(sandbox.helper(), dir)?;
    let libraries = match &stack.image {
        Some(_) => libraries()?,
        None => Vec::new(),
    };
    let loader = libraries.iter().find_map(|path| {
        let name = path.file_name()?.to_str()?;
        name.starts_with("ld-").then(|| name.to_owned())
    });
    let mut shown = trees
        .into_iter()
        .zip(inside.map(str::to_owned))
        .collect::<Vec<_>>();
    let Some(loader) = loader else {
        // On the host's own stack, or without libraries, it runs as it is.
        fs::write(dir.join("bin/slugline"), "")?;
        shown.push((program, "bin/slugline".to_owned()));
        return Ok(shown);
    };
    let starter = dir.join("bin/slugline");
    fs::write(
        &starter,
        STARTER.replace("DIR", TOOL_DIR).replace("LOADER", &loader),
    )?;
    fs::set_permissions(&starter, Permissions::from_mode(0o755))?;
    let named = libraries.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        Some((path, name))
    });
    for (path, name) in named.chain([(program, "slugline".to_owned())]) {
        fs::write(dir.join("lib").join(&name), "")?;
        shown.push((path, format!("lib/{name}")));
    }
    Ok(shown)
}

/// The file of our own binary, fit to be run by another user: its own, or a copy where that was
/// replaced or is closed to others.
fn program(helper: &Path, dir: &Path) -> io::Result<PathBuf> {
    let same = |path: &Path| {
        let (path, running) = (fs::metadata(path)?, fs::metadata(helper)?);
        let same = (path.dev(), path.ino()) == (running.dev(), running.ino());
        io::Result::Ok(same && path.permissions().mode() & 0o005 == 0o005)
    };
    if let Ok(path) = fs::canonicalize(helper)
        && same(&path).unwrap_or(false)
    {
        return Ok(path);
    }
    let copy = dir.join("program");
    fs::copy(helper, &copy)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    Ok(copy)
}

/// The shared libraries that this process runs with, the loader among them.
fn libraries() -> io::Result<Vec<PathBuf>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let paths = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]));
    let mut paths = paths
        .filter(|path| path.contains(".so"))
        .map(PathBuf::from)
        .filter(|path| path.is_file())
        .collect::<Vec<_>>();
    paths.sort();
    paths.dedup();
    Ok(paths)
}
