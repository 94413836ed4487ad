//! The log of each app: lines of its dynos, of the router, of builds, releases and the platform, in
//! the order in which they came.
//!
//! The last [`KEPT`] lines are in memory, and followed from there; files hold them across restarts,
//! as many bytes as [`files`] says. A reader that is too slow is told how many lines it has missed:
//! nobody waits for a reader.

mod files;
mod line;
mod throttle;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use super::clock;
use files::Files;
pub use line::{Line, Source};
pub use throttle::{Throttle, Verdict};

/// Lines that are kept in memory. Source: Heroku's documented 1,500.
pub const KEPT: usize = 1500;

/// How often what has come is written to the files.
const FLUSH: Duration = Duration::from_millis(200);

/// The logs of all apps. Clones share them.
#[derive(Debug, Clone)]
pub struct LogStreams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    streams: Mutex<HashMap<String, Arc<LogStream>>>,
}

impl LogStreams {
    /// The logs in a directory, written there while the value lives.
    pub fn new(dir: PathBuf) -> Self {
        let inner = Arc::new(Inner {
            dir,
            streams: Mutex::default(),
        });
        let weak = Arc::downgrade(&inner);
        thread::spawn(move || {
            while let Some(inner) = weak.upgrade() {
                inner.flush();
                drop(inner);
                thread::sleep(FLUSH);
            }
        });
        Self(inner)
    }

    /// The log of an app.
    pub fn of(&self, app_id: &str) -> Arc<LogStream> {
        let mut streams = lock(&self.0.streams);
        if let Some(stream) = streams.get(app_id) {
            return stream.clone();
        }
        let new = || Arc::new(LogStream::open(Files::new(&self.0.dir, app_id)));
        streams.entry(app_id.to_owned()).or_insert_with(new).clone()
    }

    /// Removes the log of an app.
    pub fn remove(&self, app_id: &str) {
        if let Some(stream) = lock(&self.0.streams).remove(app_id) {
            lock(&stream.state).closed = true;
            stream.changed.send_replace(u64::MAX);
        }
        Files::new(&self.0.dir, app_id).remove();
    }

    /// Writes all that has come to the files.
    pub fn flush(&self) {
        self.0.flush();
    }
}

impl Inner {
    fn flush(&self) {
        let streams = lock(&self.streams).values().cloned().collect::<Vec<_>>();
        for stream in streams {
            stream.flush();
        }
    }
}

/// One app's log.
#[derive(Debug)]
pub struct LogStream {
    state: Mutex<State>,
    /// The number of the next line; readers wait for it to change.
    changed: watch::Sender<u64>,
    files: Mutex<Files>,
}

#[derive(Debug)]
struct State {
    lines: VecDeque<Arc<Line>>,
    /// The number of the line after the last.
    next: u64,
    /// Not yet in the files.
    pending: Vec<u8>,
    closed: bool,
}

/// Most bytes that wait for the disk; what comes meanwhile is in memory only.
const PENDING_BYTES: usize = 4 << 20;

impl LogStream {
    fn open(files: Files) -> Self {
        let lines = files.last(KEPT);
        Self {
            state: Mutex::new(State {
                next: lines.len() as u64,
                lines: lines.into_iter().map(Arc::new).collect(),
                pending: Vec::new(),
                closed: false,
            }),
            changed: watch::channel(0).0,
            files: Mutex::new(files),
        }
    }

    /// Adds a line of a source, such as `app[web.1]` or `heroku[router]`; a text of several lines
    /// becomes as many.
    pub fn write(&self, source: Source, process: &str, text: &str) {
        for text in text.split('\n') {
            self.write_with(source, process, |line| line.push_str(text));
        }
    }

    /// Adds one line, whose text is written in its place.
    pub fn write_with(&self, source: Source, process: &str, text: impl FnOnce(&mut String)) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        // Under the lock, so that times grow with the lines.
        let line = Line::with(clock::precise(), source, process, text);
        if state.pending.len() < PENDING_BYTES {
            state.pending.extend_from_slice(line.text().as_bytes());
            state.pending.push(b'\n');
        }
        if state.lines.len() == KEPT {
            state.lines.pop_front();
        }
        state.lines.push_back(Arc::new(line));
        state.next += 1;
        let next = state.next;
        drop(state);
        // Who subscribes does so under the lock, and has then seen the line or is seen here.
        if self.changed.receiver_count() > 0 {
            self.changed.send_replace(next);
        }
    }

    /// Reads the last `count` lines that fit, and what comes after them.
    pub fn read(self: &Arc<Self>, count: usize, filter: Filter) -> Reader {
        let state = lock(&self.state);
        let fitting = state.lines.iter().filter(|line| filter.fits(line));
        let fitting = fitting.cloned().collect::<Vec<_>>();
        let skipped = fitting.len().saturating_sub(count);
        Reader {
            first: fitting.into_iter().skip(skipped).collect(),
            next: state.next,
            changed: self.changed.subscribe(),
            stream: self.clone(),
            filter,
        }
    }

    fn flush(&self) {
        let mut files = lock(&self.files);
        let pending = {
            let mut state = lock(&self.state);
            if state.closed {
                return;
            }
            std::mem::take(&mut state.pending)
        };
        if pending.is_empty() {
            files.look();
        } else if let Err(error) = files.append(&pending) {
            tracing::warn!(%error, "an app's log could not be written");
        }
    }
}

/// Which lines a reader wants.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub source: Option<Source>,
    /// A dyno, `web.1`, or all of a type, `web`; `router`.
    pub process: Option<String>,
}

impl Filter {
    fn fits(&self, line: &Line) -> bool {
        let of_type = |wanted: &str| {
            let process = line.process();
            let kind = process.rsplit_once('.').map(|(kind, _)| kind);
            process == wanted || kind == Some(wanted)
        };
        self.source.is_none_or(|source| line.source() == source)
            && self.process.as_deref().is_none_or(of_type)
    }
}

/// Reads a log.
#[derive(Debug)]
pub struct Reader {
    first: Vec<Arc<Line>>,
    next: u64,
    changed: watch::Receiver<u64>,
    stream: Arc<LogStream>,
    filter: Filter,
}

/// What has come since a reader looked last.
#[derive(Debug, Default)]
pub struct News {
    pub lines: Vec<Arc<Line>>,
    /// Lines that were gone before this reader came to them.
    pub missed: u64,
}

impl Reader {
    /// The lines that were there when the reading began.
    pub fn take_first(&mut self) -> Vec<Arc<Line>> {
        std::mem::take(&mut self.first)
    }

    /// Waits for further lines; none where the log is no more.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            self.changed.mark_unchanged();
            let (news, closed) = self.look();
            if !news.lines.is_empty() || news.missed > 0 {
                return Some(news);
            }
            if closed || self.changed.changed().await.is_err() {
                return None;
            }
        }
    }

    fn look(&mut self) -> (News, bool) {
        let state = lock(&self.stream.state);
        let new = state.next - self.next;
        let there = new.min(state.lines.len() as u64);
        let skip = state.lines.len() - usize::try_from(there).unwrap_or(state.lines.len());
        let lines = state.lines.iter().skip(skip);
        let lines = lines.filter(|line| self.filter.fits(line)).cloned();
        let news = News {
            lines: lines.collect(),
            missed: new - there,
        };
        self.next = state.next;
        (news, state.closed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[Arc<Line>]) -> Vec<String> {
        lines.iter().map(|line| line.message().to_owned()).collect()
    }

    #[test]
    fn the_last_lines_are_kept_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let streams = LogStreams::new(dir.path().to_owned());
        let stream = streams.of("one");
        for n in 0..KEPT + 10 {
            stream.write(Source::App, "web.1", &n.to_string());
        }
        stream.write(Source::Heroku, "router", "at=info\nsecond");
        let last = |streams: &LogStreams, count| {
            texts(
                &streams
                    .of("one")
                    .read(count, Filter::default())
                    .take_first(),
            )
        };
        assert_eq!(last(&streams, 3), ["1509", "at=info", "second"]);
        assert_eq!(last(&streams, usize::MAX).len(), KEPT);
        streams.flush();
        let again = LogStreams::new(dir.path().to_owned());
        assert_eq!(last(&again, usize::MAX), last(&streams, usize::MAX));
        again.remove("one");
        assert!(last(&LogStreams::new(dir.path().to_owned()), 9).is_empty());
    }

    #[test]
    fn lines_can_be_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let stream = LogStreams::new(dir.path().to_owned()).of("one");
        for (source, process) in [
            (Source::App, "web.1"),
            (Source::App, "web.2"),
            (Source::App, "worker.1"),
            (Source::Heroku, "web.1"),
            (Source::Heroku, "router"),
        ] {
            stream.write(source, process, &format!("{source}[{process}]"));
        }
        let of = |source, process: Option<&str>| {
            let process = process.map(str::to_owned);
            texts(&stream.read(9, Filter { source, process }).take_first()).join(" ")
        };
        assert_eq!(of(None, Some("web.1")), "app[web.1] heroku[web.1]");
        assert_eq!(of(Some(Source::App), Some("web")), "app[web.1] app[web.2]");
        assert_eq!(of(None, Some("router")), "heroku[router]");
        assert_eq!(
            of(Some(Source::Heroku), None),
            "heroku[web.1] heroku[router]"
        );
    }

    #[tokio::test]
    async fn a_reader_follows_and_is_told_what_it_missed() {
        let dir = tempfile::tempdir().unwrap();
        let streams = LogStreams::new(dir.path().to_owned());
        let stream = streams.of("one");
        stream.write(Source::App, "web.1", "before");
        let mut reader = stream.read(0, Filter::default());
        assert!(reader.take_first().is_empty());
        stream.write(Source::App, "web.1", "after");
        assert_eq!(texts(&reader.next().await.unwrap().lines), ["after"]);
        for n in 0..KEPT + 7 {
            stream.write(Source::App, "web.1", &n.to_string());
        }
        let news = reader.next().await.unwrap();
        assert_eq!((news.lines.len(), news.missed), (KEPT, 7));
        streams.remove("one");
        assert!(reader.next().await.is_none());
    }
}
