//! One job: read its files, digest them, write its piece of the tar and compress that.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::found::{Found, FoundKind};
use super::gzip::{self, Decoder, Encoder};
use super::plan::{Job, Large};
use super::reuse::{Copied, LargeFile, Origin};
use super::stat_cache::Known;
use super::{Error, Options, read, tarball};
use crate::digest::PieceDigest;
use crate::slug::{EntryKind, escape};

/// From so many on, opening and reading them takes longer than to decompress the member that they are in:
/// about 10 µs for each file, and 0.5 ms more for a member.
const MANY_ENTRIES: usize = 64;

/// The buffers of one job; used again and again.
#[derive(Default)]
pub struct Slot {
    /// The job's piece of the tar.
    pub tar: Vec<u8>,
    /// The finished member.
    pub gzip: Vec<u8>,
}

/// What became of a job.
pub struct Done {
    pub slot: Slot,
    /// Of the member.
    pub digest: PieceDigest,
    /// Of its piece of the tar.
    pub input: PieceDigest,
    /// Of that piece.
    pub tar_bytes: usize,
    /// Of its files' stats, where they are to be trusted.
    pub stats: Option<PieceDigest>,
    /// Where the member was copied from, if it was.
    pub copied: Option<Origin>,
    /// Whose first piece it is there.
    pub large: Option<LargeFile>,
    pub content: Content,
    /// Whether its files' stats say that they are as they were when what it was copied from was packed.
    pub known: bool,
    /// Whether it was copied without reading its files.
    pub unread: bool,
    /// Whether its piece of the tar is in the slot.
    pub has_tar: bool,
}

/// What is in a member.
pub enum Content {
    Entries(Vec<(String, EntryKind)>),
    /// A piece of a large file.
    Piece {
        file: Arc<Large>,
        number: u64,
    },
    /// The end of the tar.
    End,
}

/// What does jobs.
pub struct Worker<'a> {
    dir: &'a Path,
    options: &'a Options<'a>,
    /// Set once the tar is another than that of any slug that it is copied from: from there on all of it
    /// is needed, for its digest.
    differs: &'a AtomicBool,
    encoder: Encoder,
    decoder: Decoder,
}

impl<'a> Worker<'a> {
    pub fn new(dir: &'a Path, options: &'a Options<'a>, differs: &'a AtomicBool) -> Self {
        Self {
            dir,
            options,
            differs,
            encoder: Encoder::new(options.level),
            decoder: Decoder::default(),
        }
    }

    /// Does the job that makes the member at that place.
    pub fn work(&mut self, place: usize, job: Job, mut slot: Slot) -> Result<Done, Error> {
        let (piece, stats) = Piece::of(job)?;
        let cache = self.options.stat_cache;
        let known = stats.and_then(|stats| cache?.get(&stats));
        if let Some(known) = known
            && let Some(copy) = self.copy_known(place, known, &piece, &mut slot)?
        {
            return Ok(Done {
                digest: copy.copied.digest,
                input: known.input,
                tar_bytes: tar_bytes(known),
                stats,
                copied: Some(copy.copied.from),
                large: copy.copied.large,
                content: copy.content,
                slot,
                known: true,
                unread: copy.unread,
                has_tar: copy.has_tar,
            });
        }
        let Slot { tar, gzip } = &mut slot;
        tar.clear();
        let contents = piece.read(self.dir, tar)?;
        let tar_bytes = tar.len();
        let input = PieceDigest::of(tar);
        let made = Known {
            input,
            tar_bytes: tar_bytes as u64,
        };
        let copied = self.copy(place, made, gzip);
        if copied
            .as_ref()
            .is_none_or(|copied| copied.from.place != place)
        {
            // Before it is compressed: others work for the digest meanwhile.
            self.differs.store(true, Ordering::Relaxed);
        }
        let digest = copied.as_ref().map_or_else(
            || {
                self.encoder.encode(tar, gzip);
                PieceDigest::of(gzip)
            },
            |copied| copied.digest,
        );
        let carried = copied.as_ref().map_or(&[][..], |copied| &*copied.files);
        let content = piece.content(carried).unwrap_or_else(|| {
            let digests = contents
                .iter()
                .map(|bytes| PieceDigest::of(&tar[bytes.clone()]));
            let content = piece.content(&digests.collect::<Vec<_>>());
            content.expect("a digest for each file")
        });
        Ok(Done {
            digest,
            input,
            tar_bytes,
            stats,
            large: copied.as_ref().and_then(|copied| copied.large),
            copied: copied.map(|copied| copied.from),
            content,
            slot,
            known: false,
            unread: false,
            has_tar: true,
        })
    }

    /// Copies the member of a piece whose files' stats are known. It is read only where the tar is needed
    /// and to decompress it takes longer; not copied where something else is read than was known.
    fn copy_known(
        &mut self,
        place: usize,
        known: Known,
        piece: &Piece,
        Slot { tar, gzip }: &mut Slot,
    ) -> Result<Option<KnownCopy<'a>>, Error> {
        let Some(copied) = self.copy(place, known, gzip) else {
            return Ok(None);
        };
        let Some(content) = piece.content(&copied.files) else {
            return Ok(None);
        };
        let has_tar = self.differs.load(Ordering::Relaxed);
        let unread = !has_tar || piece.entries() >= MANY_ENTRIES;
        if has_tar && unread {
            self.decoder.decode(gzip, tar_bytes(known), tar)?;
        } else if has_tar {
            tar.clear();
            piece.read(self.dir, tar)?;
            if !gzip::checks(gzip, tar) {
                return Ok(None);
            }
        }
        Ok(Some(KnownCopy {
            copied,
            content,
            unread,
            has_tar,
        }))
    }

    fn copy(&self, place: usize, known: Known, gzip: &mut Vec<u8>) -> Option<Copied<'a>> {
        let slugs = self.options.reusable?;
        slugs.copy(place, known, self.options.level, gzip)
    }
}

/// A member that was copied by what its files' stats say.
struct KnownCopy<'a> {
    copied: Copied<'a>,
    content: Content,
    /// As in [`Done`].
    unread: bool,
    has_tar: bool,
}

/// Of the piece of a member that was copied.
fn tar_bytes(known: Known) -> usize {
    usize::try_from(known.tar_bytes).expect("a member is small")
}

/// A member's piece of the tar, to be read.
enum Piece {
    Group { found: Vec<Found>, first: bool },
    OfFile { file: Arc<Large>, number: u64 },
    End,
}

impl Piece {
    fn of(job: Job) -> Result<(Self, Option<PieceDigest>), Error> {
        Ok(match job {
            Job::Group {
                found,
                first,
                stats,
            } => (Self::Group { found, first }, stats),
            Job::Piece {
                file,
                number,
                stats,
            } => (Self::OfFile { file, number }, stats),
            Job::End => (Self::End, None),
            Job::Failed(error) => return Err(error),
        })
    }

    /// Appends it to `tar`, and says where in it the contents of a group's files are.
    fn read(&self, dir: &Path, tar: &mut Vec<u8>) -> Result<Vec<Range<usize>>, Error> {
        match self {
            Self::Group { found, first } => return read::group(dir, found, *first, tar),
            Self::OfFile { file, number } => read::piece(file, *number, tar)?,
            Self::End => tar.extend(tarball::END),
        }
        Ok(Vec::new())
    }

    /// How many it has.
    fn entries(&self) -> usize {
        match self {
            Self::Group { found, .. } => found.len(),
            Self::OfFile { .. } | Self::End => 1,
        }
    }

    /// What is in its member, with the digests of a group's files; none where those are too many or few.
    fn content(&self, digests: &[PieceDigest]) -> Option<Content> {
        Some(match self {
            Self::Group { found, .. } => Content::Entries(entries(found, digests)?),
            Self::OfFile { file, number } => Content::Piece {
                file: file.clone(),
                number: *number,
            },
            Self::End => Content::End,
        })
    }
}

/// A group's entries, with the digests of its files.
fn entries(found: &[Found], digests: &[PieceDigest]) -> Option<Vec<(String, EntryKind)>> {
    let mut digests = digests.iter();
    let entry = |Found { path, kind }: &Found| {
        let kind = match kind {
            FoundKind::Directory => EntryKind::Directory,
            FoundKind::Symlink { target } => EntryKind::Symlink {
                target: escape(target),
            },
            FoundKind::File(stamp, _) => EntryKind::File {
                executable: stamp.executable,
                size_bytes: stamp.size_bytes,
                digest: *digests.next()?,
            },
        };
        Some((escape(path), kind))
    };
    let entries = found.iter().map(entry).collect::<Option<_>>()?;
    digests.next().is_none().then_some(entries)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;

    use super::super::found::{Inode, Stamp};
    use super::super::stat_cache::StatCache;
    use super::super::{Reusable, pack};
    use super::*;

    /// Packs a group of one file, which is changed after the walk has found it.
    fn changed_by(change: impl FnOnce(&Path)) -> Result<Done, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lib/web");
        fs::create_dir(dir.path().join("lib")).unwrap();
        fs::write(&file, "web").unwrap();
        let stat = rustix::fs::stat(&file).unwrap();
        change(&file);
        let found = vec![Found {
            path: b"lib/web".to_vec(),
            kind: FoundKind::File(Stamp::of(&stat).unwrap(), Inode::of(&stat)),
        }];
        let job = Job::Group {
            found,
            first: false,
            stats: None,
        };
        let (options, differs) = (Options::default(), AtomicBool::new(false));
        Worker::new(dir.path(), &options, &differs).work(0, job, Slot::default())
    }

    /// What the kernel says of a file is the same, and the file is another: as after a write to memory
    /// that a program has mapped.
    #[test]
    fn what_stats_do_not_tell_is_seen_where_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("web");
        let packed = |content: &str| {
            fs::write(&file, content).unwrap();
            let packed = pack(dir.path(), Vec::new()).unwrap();
            let mut slugs = Reusable::default();
            let mut slug = tempfile::tempfile().unwrap();
            slug.write_all(&packed.out).unwrap();
            (slugs.add(packed.manifest.json().as_bytes(), slug)).unwrap();
            (slugs, packed.manifest.members[0])
        };
        let ((_, now), (before, was)) = (packed("1"), packed("0"));
        fs::write(&file, "1").unwrap();
        let stat = rustix::fs::stat(&file).unwrap();
        let stats = PieceDigest::of(b"what the kernel says");
        let mut known = StatCache::default();
        let (input, tar_bytes) = (was.input, was.tar_bytes);
        known.note(stats, Known { input, tar_bytes });
        let options = Options {
            reusable: Some(&before),
            stat_cache: Some(&known),
            ..Options::default()
        };
        let job = Job::Group {
            found: vec![Found {
                path: b"web".to_vec(),
                kind: FoundKind::File(Stamp::of(&stat).unwrap(), Inode::of(&stat)),
            }],
            first: true,
            stats: Some(stats),
        };
        let differs = AtomicBool::new(true);
        let done = Worker::new(dir.path(), &options, &differs).work(0, job, Slot::default());
        let done = done.unwrap();
        assert_eq!((done.input, done.digest), (now.input, now.digest));
        assert!(done.copied.is_none() && !done.unread);
        assert_eq!(PieceDigest::of(&done.slot.tar), now.input);
    }

    #[test]
    fn a_file_that_changes_in_a_group_is_named() {
        assert!(changed_by(|_| ()).is_ok());
        let later = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        let changes: [&dyn Fn(&Path); 5] = [
            &|file| fs::write(file, "more than before").unwrap(),
            &|file| fs::write(file, "").unwrap(),
            &|file| {
                fs::write(file, "new").unwrap();
                File::options()
                    .write(true)
                    .open(file)
                    .unwrap()
                    .set_times(later)
                    .unwrap();
            },
            &|file| {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
            },
            &|file| {
                fs::remove_file(file).unwrap();
                nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            match changed_by(change) {
                Err(Error::Changed { path }) => assert!(path.ends_with("lib/web")),
                Err(other) => panic!("{number}: {other}"),
                Ok(_) => panic!("{number}: the change was not seen"),
            }
        }
        let gone = changed_by(|file| fs::remove_file(file).unwrap());
        assert!(matches!(gone, Err(Error::Read { .. })));
    }
}
