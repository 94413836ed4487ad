//! The files of an app's log: one that grows, and the one before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::line::Line;

/// A file that has become so long makes way for the next; two are kept.
pub(super) const FILE_BYTES: u64 = 8 << 20;

#[derive(Debug)]
pub(super) struct Files {
    current: PathBuf,
    before: PathBuf,
    file: Option<(File, u64)>,
    /// Looks since something was written last.
    looks: u32,
}

/// So many looks without anything to write, and the file is closed: most apps are silent.
const LOOKS: u32 = 25;

impl Files {
    pub fn new(dir: &Path, app_id: &str) -> Self {
        Self {
            current: dir.join(format!("{app_id}.log")),
            before: dir.join(format!("{app_id}.log.1")),
            file: None,
            looks: 0,
        }
    }

    /// There was nothing to write.
    pub fn look(&mut self) {
        self.looks += 1;
        if self.looks >= LOOKS {
            (self.file, self.looks) = (None, 0);
        }
    }

    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.looks = 0;
        let (mut file, mut length) = match self.file.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if length >= FILE_BYTES {
            fs::rename(&self.current, &self.before)?;
            (file, length) = self.open()?;
        }
        file.write_all(bytes)?;
        self.file = Some((file, length + bytes.len() as u64));
        Ok(())
    }

    fn open(&self) -> io::Result<(File, u64)> {
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.current)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// The last lines, oldest first; what is no line is left out.
    pub fn last(&self, count: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        for path in [&self.before, &self.current] {
            // A log that is not there has no lines.
            let text = end_of(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            lines.extend(text.lines().filter_map(Line::parse));
        }
        let skipped = lines.len().saturating_sub(count);
        lines.drain(..skipped);
        lines
    }

    pub fn remove(&self) {
        for path in [&self.current, &self.before] {
            // It may never have been there.
            let _ = fs::remove_file(path);
        }
    }
}

/// More than the kept lines have as a rule.
const END_BYTES: u64 = 1 << 20;

fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_at_most() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::new(dir.path(), "app");
        let line = |n: usize| format!("t app[web.1]: {n:0>1000}\n");
        let chunk = |n: usize| line(n).repeat(1000);
        for n in 0..40 {
            files.append(chunk(n).as_bytes()).unwrap();
        }
        let total = fs::read_dir(dir.path()).unwrap();
        let total = total.map(|entry| entry.unwrap().metadata().unwrap().len());
        let total = total.collect::<Vec<_>>();
        assert_eq!(total.len(), 2);
        assert!(total.iter().all(|length| *length < FILE_BYTES + 2_000_000));
        let last = files.last(2);
        assert_eq!(last.len(), 2);
        assert_eq!(format!("{}\n", last[1].text()), line(39));
        // A silent app's file is closed, and opened again.
        (0..LOOKS).for_each(|_| files.look());
        assert!(files.file.is_none());
        // A restart goes on in the same file.
        let mut again = Files::new(dir.path(), "app");
        again.append(line(40).as_bytes()).unwrap();
        assert_eq!(format!("{}\n", again.last(1)[0].text()), line(40));
    }
}
