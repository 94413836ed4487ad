//! A server process of the bench: its processor time, and its end by its own id.

use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Of the kernel's interface, whatever its own clock: `USER_HZ`. Source: proc(5), `/proc/pid/stat`.
const TICK: Duration = Duration::from_millis(10);

/// Processor time that does not change for so long means that a server is at rest.
const REST: Duration = Duration::from_millis(100);

/// Longest wait for that.
const REST_LIMIT: Duration = Duration::from_secs(10);

/// A child process that ends with the bench.
pub struct Server(pub Child);

impl Server {
    /// Starts a server.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command.spawn();
        let child = child.with_context(|| format!("starting {command:?}"))?;
        Ok(Self(child))
    }

    /// Processor time of the process and of all its descendants that were waited for, once no
    /// child is left and the time stands still. It has a resolution of 10 ms; sums over many
    /// pushes are finer.
    pub fn cpu_at_rest(&self) -> Result<Duration> {
        let start = Instant::now();
        let mut last = (self.cpu()?, Instant::now());
        while last.1.elapsed() < REST {
            if start.elapsed() > REST_LIMIT {
                bail!("the server does not come to rest");
            }
            thread::sleep(Duration::from_millis(10));
            let cpu = self.cpu()?;
            if cpu != last.0 || self.has_children() {
                last = (cpu, Instant::now());
            }
        }
        Ok(last.0)
    }

    fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.0.id());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        // The name may hold blanks and brackets: fields are counted after its last one.
        let (_, fields) = text.rsplit_once(") ").with_context(|| path.clone())?;
        // utime, stime, cutime, cstime: the 14th to 17th of the line, which has two before these.
        let ticks = fields.split(' ').skip(11).take(4).map(str::parse::<u32>);
        let ticks = ticks
            .sum::<Result<u32, _>>()
            .with_context(|| path.clone())?;
        Ok(TICK * ticks)
    }

    fn has_children(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id()));
        tasks.into_iter().flatten().flatten().any(|task| {
            fs::read_to_string(task.path().join("children")).is_ok_and(|ids| !ids.is_empty())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.0.id()) {
            // An error means that it has ended already.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}
