//! Language runtimes for builds: what the tools below need done for them, and what a build has got.

use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Machine;
use super::obtain::fetch_archive;
use crate::buildpack::Offer;
use crate::checkout;
use crate::digest::Digest;
use crate::fetch::FetchError;
use crate::runtime::{self, Hands, NotFetched, Obtained, OtherStack, PREPARED, Runtimes, host_of};
use crate::sandbox::{Cancel, Ended, Profile, Rules, Sandbox, Spec, TOOL_DIR, Watch, remove_tree};
use crate::slug::RuntimeTree;
use crate::stack::Stack;
use crate::tool::Answer;

/// How long a new runtime may be prepared.
const PREPARE_TIME: Duration = Duration::from_secs(600);
/// Most bytes that are read of what that command prints.
const OUTPUT_BYTES: usize = 64 << 10;
/// Most runtimes that one build gets: each may have to be fetched, and stays.
const MOST: usize = 16;
/// How large a tree may be that is handed over.
const HANDED: checkout::Limits = checkout::Limits {
    files: 10_000,
    bytes: 1 << 30,
};
/// The directory of [`TOOL_DIR`] where builds see the trees.
pub(super) const INSIDE: &str = "runtimes";

/// Where runtimes are, and from where they may be fetched.
#[derive(Debug, Clone)]
pub struct RuntimeSupply {
    pub runtimes: Arc<Runtimes>,
    /// The operator names their sources: other rules than for what apps name.
    pub fetch_from: Arc<Rules>,
}

impl RuntimeSupply {
    /// Calls with all that obtaining a runtime takes.
    fn with_hands<T>(
        &self,
        sandbox: &Sandbox,
        stack: Option<&Path>,
        cancel: &Cancel,
        call: impl FnOnce(&Hands<'_>) -> T,
    ) -> T {
        let fetch = |url: &str, to: &Path| {
            fetch_archive(url, None, to, &self.fetch_from, cancel)
                .map(drop)
                .map_err(|error| not_fetched(url, &error))
        };
        let run = |dir: &Path, argv: &[String]| prepare(sandbox, stack, dir, argv, cancel);
        call(&Hands {
            fetch: &fetch,
            run: &run,
            stop: cancel.flag(),
        })
    }
}

/// Why an address was not fetched: our own gate, which answers with 502, is none of anybody's business.
fn not_fetched(url: &str, error: &anyhow::Error) -> NotFetched {
    let no_connection = || format!("there is no connection to {}", host_of(url));
    let (reason, answered) = match error.downcast_ref::<FetchError>() {
        Some(FetchError::Http { source, .. }) => match **source {
            ureq::Error::StatusCode(502) => (no_connection(), false),
            ureq::Error::StatusCode(code) => (format!("it answers {code}"), true),
            _ => (no_connection(), false),
        },
        _ => (error.root_cause().to_string(), false),
    };
    NotFetched { reason, answered }
}

/// Gets a version of a runtime, as a build would.
///
/// # Errors
/// As [`Runtimes::get`].
pub fn obtain_runtime(
    machine: &Machine,
    name: &str,
    version: &str,
    cancel: &Cancel,
) -> Result<Obtained, runtime::Error> {
    let supply = &machine.runtimes;
    supply.with_hands(&machine.sandbox, None, cancel, |hands| {
        supply.runtimes.get(name, version, None, hands)
    })
}

/// Takes a directory for a version from now on.
///
/// # Errors
/// As [`Runtimes::import`].
pub fn import_runtime(
    machine: &Machine,
    name: &str,
    version: &str,
    prefix: &Path,
    cancel: &Cancel,
) -> Result<Obtained, runtime::Error> {
    let supply = &machine.runtimes;
    supply.with_hands(&machine.sandbox, None, cancel, |hands| {
        supply.runtimes.import(name, version, prefix, hands)
    })
}

/// Runs a recipe's command over a new tree, which it finds in its directory, without a network.
fn prepare(
    sandbox: &Sandbox,
    stack: Option<&Path>,
    dir: &Path,
    argv: &[String],
    cancel: &Cancel,
) -> Result<(), String> {
    let at = dir.join("root");
    let done = run(sandbox, &at, stack, Some(&dir.join(PREPARED)), argv, cancel);
    remove_tree(&at).map_err(|error| error.to_string())?;
    done.map(drop)
}

/// Runs a command in a new root at `at`, without a network, where `tree` is in its directory
/// meanwhile; gives what it prints.
fn run(
    sandbox: &Sandbox,
    at: &Path,
    stack: Option<&Path>,
    tree: Option<&Path>,
    argv: &[String],
    cancel: &Cancel,
) -> Result<String, String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let root = sandbox.root_on(at, stack).map_err(|error| said(&error))?;
    let inside = root.app().join(PREPARED);
    let moved = |from: &Path, to: &Path| fs::rename(from, to).map_err(|error| said(&error));
    tree.map_or(Ok(()), |tree| moved(tree, &inside))?;
    root.hand_over().map_err(|error| said(&error))?;
    let spec = Spec {
        argv: argv.to_vec(),
        env: Vec::new(),
        cwd: "/app".to_owned(),
        profile: Profile::Inspect,
    };
    let watch = Watch {
        deadline: Some(Instant::now() + PREPARE_TIME),
        cancel: cancel.clone(),
    };
    let done = sandbox.capture(&root, &spec, &watch, OUTPUT_BYTES);
    let done = done.map_err(|error| said(&error))?;
    let words = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    match done.ended {
        Ended::Exited(exit) if exit.is_success() => {}
        Ended::Exited(exit) => return Err(format!("it ended with {exit:?}: {words}")),
        Ended::TimedOut => return Err("it took too long".to_owned()),
        Ended::Cancelled => return Err("it was cancelled".to_owned()),
    }
    tree.map_or(Ok(()), |tree| moved(&inside, tree))?;
    Ok(words)
}

/// The runtimes of one build: what it is answered, and what it has got.
pub(super) struct BuildRuntimes {
    supply: RuntimeSupply,
    sandbox: Sandbox,
    cancel: Cancel,
    stack: Stack,
    /// A directory of the build.
    scratch: PathBuf,
    /// Where the build is to be repeated, what it had then.
    pinned: Vec<RuntimeTree>,
    got: Mutex<Vec<RuntimeTree>>,
}

impl BuildRuntimes {
    pub fn new(
        machine: &Machine,
        stack: &Stack,
        (cancel, scratch): (&Cancel, &Path),
        pinned: &[RuntimeTree],
    ) -> Self {
        Self {
            supply: machine.runtimes.clone(),
            sandbox: machine.sandbox.clone(),
            cancel: cancel.clone(),
            stack: stack.clone(),
            scratch: scratch.to_owned(),
            pinned: pinned.to_vec(),
            got: Mutex::default(),
        }
    }

    /// Calls with the build's stack, where it is not this machine's own.
    fn on_stack<T>(&self, call: impl FnOnce(Option<OtherStack<'_>>) -> T) -> T {
        let Some(image) = &self.stack.image else {
            return call(None);
        };
        let ask = |argv: &[String]| self.ask(&image.root, argv);
        call(Some(OtherStack {
            name: self.stack.name.as_str(),
            root: &image.root,
            ask: &ask,
        }))
    }

    /// What a command of the stack prints, if it succeeds.
    fn ask(&self, stack: &Path, argv: &[String]) -> Option<String> {
        let work = tempfile::tempdir_in(&self.scratch).ok()?;
        let at = work.path().join("root");
        let said = run(&self.sandbox, &at, Some(stack), None, argv, &self.cancel);
        remove_tree(&at).ok()?;
        said.ok()
    }

    /// Answers which versions there are.
    pub fn list(&self, name: &str, here: bool) -> Answer {
        if let Some(pinned) = self.pinned.iter().find(|one| one.name == name) {
            return Answer::Runtimes {
                offers: vec![Offer {
                    version: pinned.version.clone(),
                    end_of_life: None,
                    origin: pinned.origin.clone(),
                }],
            };
        }
        let runtimes = &self.supply.runtimes;
        match self.on_stack(|stack| runtimes.offers(name, here, stack)) {
            Ok(offers) => Answer::Runtimes { offers },
            Err(error) => refused(error),
        }
    }

    /// A runtime's tree, which may take a while; else what is answered.
    pub fn get(&self, name: &str, version: &str) -> Result<Obtained, Answer> {
        let got = self.got();
        let is_new = !got
            .iter()
            .any(|one| one.name == name && one.version == version);
        if is_new && got.len() >= MOST {
            return Err(Answer::Refused {
                message: format!("a build has {MOST} runtimes at most"),
            });
        }
        let supply = &self.supply;
        let pinned = self.pinned.iter().find(|one| one.name == name);
        let image = self.stack.image.as_ref().map(|image| image.root.as_path());
        let obtained = supply.with_hands(&self.sandbox, image, &self.cancel, |hands| {
            self.on_stack(|stack| match pinned {
                Some(pinned) => {
                    let digest = pinned.digest;
                    supply
                        .runtimes
                        .get_tree(name, version, digest, stack, hands)
                }
                None => supply.runtimes.get(name, version, stack, hands),
            })
        });
        match obtained {
            Ok(obtained) => {
                let kept = obtained.kept.clone();
                let tree = RuntimeTree {
                    name: kept.name,
                    version: kept.version,
                    digest: kept.tree,
                    origin: kept.origin,
                };
                let mut got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
                if !got.contains(&tree) {
                    got.push(tree);
                }
                drop(got);
                Ok(obtained)
            }
            Err(
                error @ (runtime::Error::Unreachable { .. }
                | runtime::Error::Nowhere { .. }
                | runtime::Error::Offline { .. }),
            ) => Err(Answer::Unavailable {
                message: error.note().unwrap_or_else(|| error.to_string()),
            }),
            Err(error) => Err(refused(error)),
        }
    }

    /// Where builds see a tree that another one has handed over.
    pub fn handed(&self, name: &str) -> Answer {
        match self.supply.runtimes.handed(name) {
            Ok(Some(tree)) => Answer::Found {
                path: tree_inside(&tree).display().to_string(),
            },
            Ok(None) => Answer::Missing,
            Err(error) => refused(error),
        }
    }

    /// Keeps a tar's tree for all builds, if it is the one that the buildpacks name.
    pub fn hand_over(&self, name: &str, tar: &mut dyn Read) -> Answer {
        let take = || -> Result<Digest> {
            let work = self.supply.runtimes.work()?;
            let tree = work.path().join("tree");
            fs::create_dir(&tree)?;
            // The reader fails when the build ends.
            let go = AtomicBool::new(false);
            checkout::whole_archive(tar, &tree, &HANDED, &go, &|_| true)?;
            Ok(self.supply.runtimes.hand_over(name, &tree)?)
        };
        match take() {
            Ok(digest) => Answer::Saved { digest },
            Err(error) => Answer::Refused {
                message: format!("{error:#}"),
            },
        }
    }

    /// What the build has got, by name and version.
    pub fn got(&self) -> Vec<RuntimeTree> {
        let mut got = self
            .got
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        got.sort();
        got
    }
}

/// Where builds see a runtime's tree.
pub(super) fn inside(obtained: &Obtained) -> PathBuf {
    tree_inside(&obtained.kept.tree.hex())
}

fn tree_inside(name: &str) -> PathBuf {
    Path::new(TOOL_DIR).join(INSIDE).join(name)
}

/// The directory of a tree that a build names, on the host and inside; none where there is none.
pub(super) fn part(obtained: &Obtained, part: &str) -> Option<(PathBuf, PathBuf)> {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let part = Path::new(part);
    let tree = &obtained.tree;
    // A tree may have links.
    let real = fs::canonicalize(tree.join(part)).ok()?;
    let is_there = real.is_dir() && real == fs::canonicalize(tree).ok()?.join(part);
    (part.components().all(is_plain) && is_there)
        .then(|| (tree.join(part), inside(obtained).join(part)))
}

fn refused(error: runtime::Error) -> Answer {
    Answer::Refused {
        message: format!("{:#}", anyhow::Error::new(error)),
    }
}
