//! What a build may use of the machine.

use serde::{Deserialize, Serialize};

/// A build's share, whatever it is enforced by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Of all processes together.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    /// In hundredths of one core; none is all cores.
    pub cpu_percent: Option<u64>,
    /// In each process.
    pub open_files: u64,
    /// Of all files that the build has in its directories.
    pub disk_bytes: u64,
    /// The largest single file; none is as large as all together may be.
    pub file_bytes: Option<u64>,
    /// Files and directories.
    pub disk_files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            processes: 2048,
            cpu_percent: None,
            open_files: 65_536,
            disk_bytes: 10 << 30,
            file_bytes: None,
            disk_files: 2_000_000,
        }
    }
}

/// A limit that a build has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Memory,
    Processes,
    OpenFiles,
    FileBytes,
    DiskBytes,
    DiskFiles,
}

impl Limits {
    fn file_bytes(&self) -> u64 {
        let chosen = self.file_bytes.unwrap_or(self.disk_bytes);
        chosen.min(self.disk_bytes)
    }

    /// The value of a limit.
    pub fn of(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Memory => self.memory_bytes,
            Limit::Processes => self.processes,
            Limit::OpenFiles => self.open_files,
            Limit::FileBytes => self.file_bytes(),
            Limit::DiskBytes => self.disk_bytes,
            Limit::DiskFiles => self.disk_files,
        }
    }
}

/// The kernel's own limits on one process, as far as they are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ProcessLimits {
    pub open_files: Option<u64>,
    pub file_bytes: Option<u64>,
    pub processes: Option<u64>,
    pub data_bytes: Option<u64>,
    /// Where no control group limits the share of the processors: how many of them there are.
    pub cores: Option<u64>,
}

impl ProcessLimits {
    /// Of a build. Where memory is not limited for all processes together, one process gets at
    /// most twice the limit at once: the watchdog, which looks at times only, then cannot be far
    /// too late.
    pub fn of_build(limits: &Limits, has_group: bool) -> Self {
        Self {
            open_files: Some(limits.open_files),
            file_bytes: Some(limits.file_bytes()),
            processes: Some(limits.processes),
            data_bytes: (!has_group).then(|| limits.memory_bytes.saturating_mul(2)),
            cores: limits
                .cpu_percent
                .filter(|_| !has_group)
                .map(|percent| percent.div_ceil(100)),
        }
    }
}
