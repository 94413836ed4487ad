//! Lays overlays, as pid 1: before the command starts, and when the host's side asks for more.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, fstat, mkdirat};

use super::mounts;
use super::{Refusal, Step, at};
use crate::sandbox::Profile;
use crate::sandbox::overlays::{LAID, Lay};
use crate::sandbox::root::Order;

/// Where the kernel's own directories of overlays lie, below the root; hidden from the command.
pub(in crate::sandbox) const WORK: &str = "mnt/work";

/// An empty directory of the root.
const EMPTY: &str = "/home";

/// Longest request.
const LINE_BYTES: u64 = 16 << 10;

/// Lays overlays for as long as the command runs.
pub(super) struct Layer {
    work: OwnedFd,
    channel: UnixStream,
}

impl Layer {
    /// Lays those that there are already, and hides what they work with. To be called in the new
    /// root. Without a channel none can come later.
    pub fn start(order: &Order, channel: Option<UnixStream>) -> Step<Option<Self>> {
        if channel.is_none() && order.overlays.is_empty() {
            return Ok(None);
        }
        let dir = Path::new("/").join(WORK);
        let work = directory(&dir)?;
        let writable = order.spec.profile == Profile::Build;
        for lay in &order.overlays {
            overlay(&work, lay, writable)?;
        }
        mounts::bind(Path::new(EMPTY), &dir)?;
        mounts::make_read_only(&dir)?;
        Ok(channel.map(|channel| Self { work, channel }))
    }

    pub fn socket(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Serves what has come; says whether more can come.
    pub fn serve(&self) -> bool {
        let Some(line) = self.read() else {
            return false;
        };
        let order = serde_json::from_slice::<Lay>(&line).map_err(at("read what to lay"));
        let answer = match order.and_then(|lay| overlay(&self.work, &lay, true)) {
            Ok(()) => LAID.to_owned(),
            Err(Refusal { step, reason }) => format!("{step}: {reason}").replace('\n', " "),
        };
        writeln!(&self.channel, "{answer}").is_ok()
    }

    /// A line, which comes at once: only the server writes here, and waits for each answer.
    fn read(&self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let mut reader = BufReader::new(&self.channel).take(LINE_BYTES);
        reader.read_until(b'\n', &mut line).ok()?;
        line.ends_with(b"\n").then_some(line)
    }
}

fn directory(path: &Path) -> Step<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(at(format!("open {}", path.display())))
}

/// Lays an overlay on the directory that its order means, and on no other.
fn overlay(work: &OwnedFd, lay: &Lay, writable: bool) -> Step<()> {
    let step = || format!("lay an overlay over {}", lay.at.display());
    let dir = directory(&lay.at)?;
    let stat = fstat(&dir).map_err(at(step()))?;
    if (stat.st_dev, stat.st_ino) != (lay.device, lay.inode) {
        return Err(at(step())("it is another directory now"));
    }
    let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let (lower, upper) = (lay.lower.display().to_string(), path(&dir));
    let done = if writable {
        let number = lay.number.to_string();
        mkdirat(work, number.as_str(), Mode::S_IRWXU).map_err(at(step()))?;
        let work = format!("{}/{number}", path(work));
        let layer = Some((&*upper, &*work));
        mounts::overlay(&[&lower], layer, Path::new(&upper), MsFlags::empty())
    } else {
        // As the directory itself is read-only here, it is one more tree below.
        mounts::overlay(
            &[&upper, &lower],
            None,
            Path::new(&upper),
            MsFlags::MS_RDONLY,
        )
    };
    done.map_err(at(step()))
}
