//! The directory that becomes `/` for a sandboxed command.
//!
//! `/app`, `/cache`, `/env`, `/buildpacks` and `/tmp` are plain directories of it, so that hard
//! links and renames between them work; the system directories are mount points that the helper
//! fills; `/etc` holds the few files that programs need, and none of the host's accounts.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::statvfs::statvfs;
use nix::unistd::syncfs;
use serde::{Deserialize, Serialize};

use super::base::Base;
use super::cgroup::{Entrance, Group};
use super::disk::{Disk, Own, Shared};
use super::helper::{BASE, LAYER, WORK};
use super::image::Image;
use super::limits::{Limits, ProcessLimits};
use super::network::direct::{self, Claim, Connected, Plan};
use super::network::{Network, Rules, Traffic};
use super::overlays::{Lay, Overlays};
use super::remove::remove_tree;
use super::user::Outer;
use super::{Error, Level, Spec, outside};

/// Directories that a build may write to.
pub(super) const WRITABLE: &[&str] = &["app", "cache", "env", "buildpacks", "tmp"];
/// The same for a dyno.
const WRITABLE_OF_DYNO: &[&str] = &["app", "tmp"];
/// Mount points and empty directories that a Linux program expects.
const EXPECTED: [&str; 8] = ["dev", "proc", "etc", "run", "var", "var/tmp", "home", "mnt"];
/// The stack's system directories, shown read-only.
const SYSTEM: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Small files of the stack's `/etc` that are copied.
const ETC_FILES: [&str; 10] = [
    "gai.conf",
    "ld.so.cache",
    "ld.so.conf",
    "localtime",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "protocols",
    "services",
];
/// Directories of the stack's `/etc` that are shown read-only.
const ETC_DIRECTORIES: [&str; 5] = [
    "alternatives",
    "crypto-policies",
    "fonts",
    "ld.so.conf.d",
    "profile.d",
];
/// The same by the ends of their names: where Debian keeps what a virtual machine reads at its start.
const ETC_ENDING: &str = "-openjdk";
/// The same of the host, whatever the stack: its network, and the certificates that it trusts.
const HOST_FILES: [&str; 4] = ["host.conf", "hosts", "networks", "resolv.conf"];
const HOST_DIRECTORIES: [&str; 3] = ["ca-certificates", "pki", "ssl"];
/// Largest file of an `/etc` that is copied.
const ETC_FILE_BYTES: u64 = 1 << 20;
/// Where the server's side of a build is shown to it.
pub const TOOL_DIR: &str = "/run/slugline";

/// `bash --login` reads this first; it loads the slug's `.profile.d`, as Heroku's stacks do.
/// Source: facts on Heroku's runtime, "`bash --login -c`: /etc/profile sources `$HOME/.profile.d/*.sh`".
const PROFILE: &str = r#"# Loads what the buildpacks left for the start of a process.
if [ -d "$HOME/.profile.d" ]; then
  for script in "$HOME"/.profile.d/*.sh; do
    [ -r "$script" ] && . "$script"
  done
  unset script
fi
"#;

/// The prompt of an interactive shell, as on Heroku: `~ $`. Its parent, which is none, drops `PS1`.
const BASHRC: &str = "PS1='\\w \\$ '\n";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nslugline:x:1000:1000::/app:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nslugline:x:1000:\nnogroup:x:65534:\n";

/// What the helper reads: the command, and the mounts that make its root.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The process that gives the order: without it nobody waits for what would be started.
    pub parent: i32,
    pub root: PathBuf,
    /// Host directory and mount point, both absolute.
    pub read_only: Vec<(PathBuf, PathBuf)>,
    /// The directory with the writable layer of `/app`, whose base is among the read-only ones.
    pub layer: Option<PathBuf>,
    /// Whether standard input is a socket, and whether the command's own comes by it.
    pub has_socket: bool,
    pub has_input: bool,
    /// Over which directories kept trees are shown.
    pub overlays: Vec<Lay>,
    pub limits: ProcessLimits,
    pub network: Network,
    /// For [`Network::Direct`].
    pub direct: Option<Plan>,
    /// Of its control group, if it has one.
    pub entrance: Option<Entrance>,
    /// The uid and gid outside; none are the helper's own.
    pub outer_id: Option<u32>,
    pub level: Level,
    pub spec: Spec,
}

/// What the helper gets as its standard input, if anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnInput {
    /// Whether the command's own comes by it.
    pub comes: bool,
    pub is_socket: bool,
}

/// A prepared root directory.
#[derive(Debug)]
pub struct Root {
    dir: PathBuf,
    level: Level,
    writable: &'static [&'static str],
    read_only: Vec<(PathBuf, PathBuf)>,
    /// Its file system, where it has one of its own.
    own: Option<Own>,
    /// Where the writable layer of `/app` lies; none where `/app` is a directory of the root.
    layer: Option<PathBuf>,
    traffic: Traffic,
    overlays: Overlays,
    /// Shared by all views of the root: their commands run as one user.
    outer: Arc<Outer>,
}

/// How a root gets a writable `/app` of what its base holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layering {
    /// By a file system that the kernel lays over the base: nothing is copied.
    Overlay,
    /// Where the kernel refuses that.
    Copy,
}

impl Root {
    /// Makes the directory `dir`, which must not exist, and all that belongs into it, for a sandbox
    /// with namespaces, on the host's own system directories.
    ///
    /// # Errors
    /// The platform's: a file could not be made.
    pub fn create(dir: &Path) -> Result<Self, Error> {
        Self::create_at(Level::with_namespaces(), dir, None, None)
    }

    /// The same for a level, and with the system directories of a stack where one is given. No link
    /// of it is followed here: an absolute one would lead to the host's files.
    pub(super) fn create_at(
        level: Level,
        dir: &Path,
        stack: Option<&Path>,
        disk: Option<(&Image, &Limits)>,
    ) -> Result<Self, Error> {
        let outer = match level {
            Level::Root => Outer::claim().map_err(Error::io(dir))?,
            // Another user could not pass through the directories above this one.
            Level::Namespaces | Level::Landlock | Level::Off => Outer::default(),
        };
        let root = Self::make(level, dir, Arc::new(outer), WRITABLE, stack, disk)?;
        let work = dir.join(WORK);
        make_dir(&work)?;
        root.outer.id.map_or(Ok(()), |id| chown_tree(&work, id))?;
        Ok(root)
    }

    /// The same for a dyno: `/app` shows the base, and what is written there is the root's own.
    /// Beside the root a directory `layer` is made. It is handed over already.
    pub(super) fn over(
        level: Level,
        dir: &Path,
        base: &Base,
        how: Layering,
        stack: Option<&Path>,
    ) -> Result<Self, Error> {
        let mut root = Self::make(
            level,
            dir,
            base.outer.clone(),
            WRITABLE_OF_DYNO,
            stack,
            None,
        )?;
        match how {
            Layering::Copy => copy_tree(base.dir(), &root.app())?,
            Layering::Overlay => {
                let layer = dir.with_file_name("layer");
                for dir in [&layer, &layer.join("upper"), &layer.join("work")] {
                    make_dir(dir)?;
                    root.outer.id.map_or(Ok(()), |id| chown_tree(dir, id))?;
                }
                for part in [BASE, LAYER] {
                    make_dir(&dir.join(part))?;
                }
                let shown = (base.dir().to_owned(), dir.join(BASE));
                root.read_only.push(shown);
                root.layer = Some(layer);
            }
        }
        root.hand_over()?;
        Ok(root)
    }

    fn make(
        level: Level,
        dir: &Path,
        outer: Arc<Outer>,
        writable: &'static [&'static str],
        stack: Option<&Path>,
        disk: Option<(&Image, &Limits)>,
    ) -> Result<Self, Error> {
        make_dir(dir)?;
        let own = disk.and_then(|(image, limits)| match image.mount(dir) {
            Ok(()) => Some(Own::new(dir, limits)),
            Err(error) => {
                tracing::warn!(%error, "a build has no disk of its own: it is looked at each second");
                None
            }
        });
        let mut root = Self {
            dir: dir.to_owned(),
            level,
            writable,
            read_only: Vec::new(),
            own,
            layer: None,
            traffic: Traffic::default(),
            overlays: Overlays::new(dir, outer.clone()),
            outer,
        };
        for name in writable.iter().chain(&EXPECTED) {
            make_dir(&dir.join(name))?;
        }
        let stack = stack.unwrap_or(Path::new("/"));
        for name in SYSTEM {
            root.show_system(stack, name)?;
        }
        root.write_etc(&stack.join("etc"))?;
        Ok(root)
    }

    /// Shows `dir` read-only as [`TOOL_DIR`], and over names in it, which must be there, other files
    /// and directories of the host.
    ///
    /// # Errors
    /// The platform's: a mount point could not be made.
    pub fn show_tools(&mut self, dir: &Path, over: &[(PathBuf, String)]) -> Result<(), Error> {
        let inside = self.dir.join(TOOL_DIR.trim_start_matches('/'));
        self.show(dir.to_owned(), inside.clone())?;
        let over = over
            .iter()
            .map(|(host, name)| (host.clone(), inside.join(name)));
        self.read_only.extend(over);
        Ok(())
    }

    /// The directory itself, as the host sees it.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The same root, with one of its directories shown read-only.
    #[must_use]
    pub fn with_read_only(&self, dir: &Path) -> Self {
        let mut read_only = self.read_only.clone();
        read_only.push((dir.to_owned(), dir.to_owned()));
        Self {
            dir: self.dir.clone(),
            level: self.level,
            writable: self.writable,
            read_only,
            own: self.own.clone(),
            layer: self.layer.clone(),
            traffic: self.traffic.clone(),
            overlays: self.overlays.clone(),
            outer: self.outer.clone(),
        }
    }

    /// The kept trees that commands of this root see in directories of their own.
    pub fn overlays(&self) -> &Overlays {
        &self.overlays
    }

    /// The build dir, as the host sees it.
    pub fn app(&self) -> PathBuf {
        self.dir.join("app")
    }

    /// The cache dir, as the host sees it.
    pub fn cache(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// The env dir, as the host sees it.
    pub fn env(&self) -> PathBuf {
        self.dir.join("env")
    }

    /// Where buildpacks are put, as the host sees it.
    pub fn buildpacks(&self) -> PathBuf {
        self.dir.join("buildpacks")
    }

    /// Makes the cache dir and the env dir anew, so that nothing that was run before lies in them.
    /// To be called before the server writes there, while nothing runs inside.
    ///
    /// # Errors
    /// The platform's: a directory could not be made.
    pub fn renew(&self) -> Result<(), Error> {
        self.require_directories()?;
        for dir in [self.cache(), self.env()] {
            remove_tree(&dir).map_err(Error::io(&dir))?;
            make_dir(&dir)?;
        }
        Ok(())
    }

    /// Checks that the writable directories are directories still. Where the server is no root, a
    /// build could put a link to somebody's files in their place, and what the server reads or
    /// keeps afterwards would be those. To be called while nothing runs inside.
    ///
    /// # Errors
    /// [`Error::Replaced`]: a build's doing.
    pub fn require_directories(&self) -> Result<(), Error> {
        for name in self.writable {
            let path = self.dir.join(name);
            if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
                return Err(Error::Replaced { name });
            }
        }
        Ok(())
    }

    /// Checks that what was written to the root's own file system is there. It is on the machine's
    /// disk in the end, and where that is full the build itself would not notice. To be called while nothing runs inside.
    ///
    /// # Errors
    /// The platform's: the machine's disk is full.
    pub fn require_written(&self) -> Result<(), Error> {
        let Some(own) = &self.own else {
            return Ok(());
        };
        let beside = self.dir.parent().unwrap_or(&self.dir);
        let free = statvfs(beside).map(|seen| seen.blocks_available() * seen.fragment_size());
        if free.is_ok_and(|free| free > own.used_bytes()) {
            return Ok(());
        }
        // Takes its time.
        File::open(&self.dir)
            .and_then(|dir| Ok(syncfs(dir)?))
            .map_err(Error::io(&self.dir))
    }

    /// Gives the two directories of [`Root::renew`] to the user that builds run as.
    ///
    /// # Errors
    /// The platform's: an owner could not be changed.
    pub fn hand_over_renewed(&self) -> Result<(), Error> {
        let Some(id) = self.outer.id else {
            return Ok(());
        };
        [self.cache(), self.env()]
            .iter()
            .try_for_each(|dir| chown_tree(dir, id))
    }

    /// The same, counting with others.
    pub(super) fn counting(self, traffic: &Traffic) -> Self {
        Self {
            traffic: traffic.clone(),
            ..self
        }
    }

    /// What the commands in this root have exchanged with hosts by way of the proxy.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What its commands have on disk.
    pub(super) fn disk(&self, limits: &Limits) -> Disk {
        if let Some(own) = &self.own {
            return Disk::Own(own.clone());
        }
        // All of it: where the server is no root, a build owns what is beside its directories, too.
        let dirs = std::iter::once(self.dir.clone()).chain(self.layer.clone());
        Disk::Shared(Shared::new(dirs.collect(), limits))
    }

    /// Gives the writable directories to the user that builds run as; needed where we are root.
    ///
    /// # Errors
    /// The platform's: an owner could not be changed.
    pub fn hand_over(&self) -> Result<(), Error> {
        let Some(id) = self.outer.id else {
            return Ok(());
        };
        self.writable
            .iter()
            .try_for_each(|name| chown_tree(&self.dir.join(name), id))
    }

    /// A system directory: a link where the stack has one (`/bin` → `usr/bin`), else a mount point.
    fn show_system(&mut self, stack: &Path, name: &str) -> Result<(), Error> {
        let host = stack.join(name);
        let inside = self.dir.join(name);
        match fs::symlink_metadata(&host) {
            Ok(meta) if meta.is_symlink() => {
                let target = fs::read_link(&host).map_err(Error::io(&host))?;
                symlink(target, &inside).map_err(Error::io(&inside))
            }
            Ok(meta) if meta.is_dir() => self.show(host, inside),
            _ => Ok(()),
        }
    }

    fn show(&mut self, host: PathBuf, inside: PathBuf) -> Result<(), Error> {
        make_dir(&inside)?;
        self.read_only.push((host, inside));
        Ok(())
    }

    fn write_etc(&mut self, of_stack: &Path) -> Result<(), Error> {
        let etc = self.dir.join("etc");
        for (name, text) in [
            ("passwd", PASSWD),
            ("group", GROUP),
            ("profile", PROFILE),
            ("bash.bashrc", BASHRC),
        ] {
            write_file(&etc.join(name), text.as_bytes())?;
        }
        write_file(&etc.join("hostname"), b"slugline\n")?;
        let of_host = Path::new("/etc");
        let is_hosts = of_stack == of_host;
        let of_stack = is_directory(of_stack).then_some(of_stack);
        let from = |dir: Option<&'_ Path>, names: &[&str]| {
            let paths = |dir: &Path| names.iter().map(|name| dir.join(name)).collect::<Vec<_>>();
            dir.map(paths).unwrap_or_default()
        };
        let files = from(of_stack, &ETC_FILES).into_iter();
        for path in files.chain(from(Some(of_host), &HOST_FILES)) {
            // A system without one of these files works without it. On the host, links are its own.
            if let Some(name) = path.file_name()
                && let Some(bytes) = read_small(&path, is_hosts || path.starts_with(of_host))
            {
                write_file(&etc.join(name), &bytes)?;
            }
        }
        let directories = from(of_stack, &ETC_DIRECTORIES).into_iter();
        let others = of_stack.map(fs::read_dir).and_then(Result::ok);
        let others = others.into_iter().flatten().flatten();
        let others = others.map(|entry| entry.path());
        let directories = directories.chain(
            others.filter(|path| path.to_str().is_some_and(|path| path.ends_with(ETC_ENDING))),
        );
        for path in directories.chain(from(Some(of_host), &HOST_DIRECTORIES)) {
            if let Some(name) = path.file_name()
                && (is_directory(&path) || (path.starts_with(of_host) && path.is_dir()))
            {
                self.show(path.clone(), etc.join(name))?;
            }
        }
        // After the directories inside it: the mount covers them read-only as well.
        self.read_only.push((etc.clone(), etc));
        self.read_only.rotate_right(1);
        Ok(())
    }

    /// How the commands of this root are connected directly, with name servers that they can ask.
    ///
    /// # Errors
    /// [`Error::Direct`]: this machine or its operator's rules do not allow it.
    pub(super) fn direct(&self, rules: &Rules) -> Result<(Plan, Connected), Error> {
        let lacks = |reason: String| Error::Direct { reason };
        if self.outer.id.is_none() {
            return Err(lacks("it takes root".to_owned()));
        }
        if !rules.only.is_empty() {
            return Err(lacks("`network_only` takes the proxy".to_owned()));
        }
        if let Some(reason) = direct::missing() {
            return Err(lacks(reason));
        }
        let servers = direct::name_servers();
        let lines = servers
            .iter()
            .map(|server| format!("nameserver {server}\n"));
        let path = self.dir.join("etc/resolv.conf");
        fs::write(&path, lines.collect::<String>()).map_err(Error::io(&path))?;
        let claim = Claim::take().map_err(|error| lacks(error.to_string()))?;
        let plan = Plan::new(&claim, rules, &servers);
        let connected = plan.connected(claim);
        Ok((plan, connected))
    }

    /// Writes the helper's order beside the root directory and names its file.
    pub(super) fn write_order(
        &self,
        spec: &Spec,
        limits: ProcessLimits,
        network: Network,
        group: Option<&Group>,
        input: OwnInput,
        direct: Option<Plan>,
    ) -> Result<PathBuf, Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("order-{}.json", COUNT.fetch_add(1, Ordering::Relaxed));
        let path = self.dir.with_file_name(name);
        let order = Order {
            parent: nix::unistd::getpid().as_raw(),
            root: self.dir.clone(),
            read_only: self.read_only.clone(),
            layer: self.layer.clone(),
            has_socket: input.is_socket,
            has_input: input.comes,
            overlays: self.overlays.orders(),
            limits,
            network,
            direct,
            outer_id: self.outer.id,
            level: self.level,
            entrance: group.map(Group::entrance),
            spec: if self.level.has_namespaces() {
                spec.clone()
            } else {
                outside::translate(spec, &self.dir)
            },
        };
        let text = serde_json::to_vec(&order).map_err(|e| Error::io(&path)(e.into()))?;
        // The environment may hold config vars: for nobody else's eyes.
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io(&path))?;
        file.write_all(&text).map_err(Error::io(&path))?;
        Ok(path)
    }
}

/// The host's own small files of `/etc`, for commands that see no other.
pub(super) fn etc_files() -> Vec<PathBuf> {
    let file = |name: &&str| Path::new("/etc").join(name);
    ETC_FILES.iter().chain(&HOST_FILES).map(file).collect()
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// A small ordinary file; through a link only where that is trusted.
fn read_small(path: &Path, follow: bool) -> Option<Vec<u8>> {
    let flags = if follow { 0 } else { nix::libc::O_NOFOLLOW };
    let flags = flags | nix::libc::O_NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .ok()?;
    file.metadata().ok().filter(fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    file.take(ETC_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Copies the files, directories and links of a tree into a directory that is there, with modes.
fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(from).map_err(Error::io(from))? {
        let entry = entry.map_err(Error::io(from))?;
        let (path, dest) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::io(&path))?;
        if kind.is_dir() {
            make_dir(&dest)?;
            copy_tree(&path, &dest)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(Error::io(&path))?;
            symlink(target, &dest).map_err(Error::io(&dest))?;
        } else {
            fs::copy(&path, &dest).map_err(Error::io(&dest))?;
        }
    }
    Ok(())
}

/// Makes a directory with mode 755 whatever the umask.
fn make_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .mode(0o755)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .map_err(Error::io(path))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    File::create_new(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.set_permissions(Permissions::from_mode(0o644))
        })
        .map_err(Error::io(path))
}

pub(super) fn chown_tree(path: &Path, id: u32) -> Result<(), Error> {
    lchown(path, Some(id), Some(id)).map_err(Error::io(path))?;
    if !fs::symlink_metadata(path)
        .map_err(Error::io(path))?
        .is_dir()
    {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(Error::io(path))? {
        let entry = entry.map_err(Error::io(path))?;
        let meta = entry.metadata().map_err(Error::io(&entry.path()))?;
        if meta.is_dir() || meta.uid() != id {
            chown_tree(&entry.path(), id)?;
        }
    }
    Ok(())
}
