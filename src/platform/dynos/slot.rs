//! One place for a dyno, `web.1`: its state, what is wanted of it, and when it starts again.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::formation::AppDynos;
use super::route::{Backend, Usage};
use super::run::{Outcome, run};
use super::{Inner, Size, Target, lock};
use crate::platform::clock;
use crate::platform::log_stream::{LogStream, Source};

/// What a dyno is at. The words are the Platform API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Starting,
    Up,
    Crashed,
    /// Stopped, and not to be started.
    Down,
    /// Stopped until a request comes.
    Idle,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Crashed => "crashed",
            Self::Down => "down",
            Self::Idle => "idle",
        })
    }
}

/// A dyno as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynoRow {
    pub id: String,
    pub name: String,
    pub kind: String,
    pub command: String,
    pub size: String,
    pub version: crate::release::Version,
    pub state: State,
    /// Since when it is in this state.
    pub since: Timestamp,
}

/// What is wanted of a dyno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Run,
    /// End, and begin anew.
    Restart,
    /// End, and stay down until somebody wants otherwise.
    Down,
    /// End, and begin anew with the next request.
    Sleep,
    /// End, for good.
    Leave,
}

/// A place for a dyno.
#[derive(Debug)]
pub(super) struct Slot {
    pub id: String,
    /// `web.1`.
    pub name: String,
    pub kind: String,
    pub number: u32,
    /// Which deploy it belongs to; counted in the app.
    pub generation: u64,
    pub command: String,
    pub size: Arc<Size>,
    pub target: Arc<Target>,
    pub inner: Arc<Inner>,
    pub log: Arc<LogStream>,
    app: Weak<AppDynos>,
    life: Mutex<Life>,
    changed: Condvar,
}

#[derive(Debug)]
struct Life {
    state: State,
    since: Timestamp,
    wish: Wish,
    /// Where it listens.
    backend: Option<Arc<Backend>>,
    /// It has been told to end and takes no further requests.
    ending: bool,
}

impl Slot {
    pub fn new(
        inner: &Arc<Inner>,
        app: &Arc<AppDynos>,
        target: &Arc<Target>,
        generation: u64,
        kind: &str,
        number: u32,
        size: &Arc<Size>,
    ) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            name: format!("{kind}.{number}"),
            kind: kind.to_owned(),
            number,
            generation,
            command: target.types.get(kind).cloned().unwrap_or_default(),
            size: size.clone(),
            target: target.clone(),
            inner: inner.clone(),
            log: inner.streams.of(&target.app_id),
            app: Arc::downgrade(app),
            life: Mutex::new(Life {
                state: State::Starting,
                since: clock::now(),
                wish: Wish::Run,
                backend: None,
                ending: false,
            }),
            changed: Condvar::new(),
        }
    }

    pub fn is_web(&self) -> bool {
        self.kind == "web"
    }

    /// The body of the dyno's thread; returns when it is to leave.
    pub fn live(self: &Arc<Self>) {
        let mut crashes = 0;
        loop {
            let started = Instant::now();
            let outcome = run(self);
            let wish = self.wish();
            if wish == Wish::Leave {
                return;
            }
            if matches!(wish, Wish::Down | Wish::Sleep) {
                if self.wait_while_down() == Wish::Leave {
                    return;
                }
                crashes = 0;
                continue;
            }
            if outcome == Outcome::AsWished || wish == Wish::Restart {
                crashes = 0;
                self.fulfil(Wish::Restart);
                continue;
            }
            // What has run for long has not crashed for the same reason.
            if started.elapsed() > self.inner.options.longest_delay {
                crashes = 0;
            }
            let delay = self.delay(crashes);
            crashes += 1;
            self.set_state(State::Crashed, None);
            if delay.is_zero() {
                self.say("Restarting at once");
            } else {
                self.say(&format!("Restarting in {} seconds", delay.as_secs_f32()));
            }
            if self.rest(delay) == Wish::Leave {
                return;
            }
            self.fulfil(Wish::Restart);
        }
    }

    fn delay(&self, crashes: u32) -> Duration {
        let options = &self.inner.options;
        match crashes {
            0 => Duration::ZERO,
            n => {
                let doubled = 2_u32.saturating_pow((n - 1).min(30));
                let delay = options.first_delay.saturating_mul(doubled);
                delay.min(options.longest_delay)
            }
        }
    }

    /// A line of the platform about this dyno.
    pub fn say(&self, text: &str) {
        self.log.write(Source::Heroku, &self.name, text);
    }

    pub fn state(&self) -> State {
        lock(&self.life).state
    }

    pub fn wish(&self) -> Wish {
        lock(&self.life).wish
    }

    pub fn backend(&self) -> Option<Arc<Backend>> {
        let life = lock(&self.life);
        life.backend.clone().filter(|_| !life.ending)
    }

    pub fn row(&self) -> DynoRow {
        let life = lock(&self.life);
        DynoRow {
            id: self.id.clone(),
            name: self.name.clone(),
            kind: self.kind.clone(),
            command: self.command.clone(),
            size: self.size.name.clone(),
            version: self.target.version,
            state: life.state,
            since: life.since,
        }
    }

    /// Enters a state, says so, and lets the app know.
    pub fn set_state(&self, state: State, backend: Option<Arc<Backend>>) {
        let before = {
            let mut life = lock(&self.life);
            life.ending = false;
            life.backend = backend;
            if life.state != state {
                life.since = clock::now();
            }
            std::mem::replace(&mut life.state, state)
        };
        if before != state {
            self.say(&format!("State changed from {before} to {state}"));
        }
        self.tell_app();
    }

    /// From here on no request goes to it.
    pub fn begin_ending(&self) {
        lock(&self.life).ending = true;
        self.tell_app();
    }

    fn tell_app(&self) {
        if let Some(app) = self.app.upgrade() {
            app.look();
        }
    }

    /// Asks for something; who is to leave cannot be asked for anything else.
    pub fn ask(&self, wish: Wish) {
        let mut life = lock(&self.life);
        if life.wish != Wish::Leave {
            life.wish = wish;
        }
        self.changed.notify_all();
    }

    /// One that sleeps, or is about to, is to run again; says whether it was one.
    pub fn wake_up(&self) -> bool {
        let mut life = lock(&self.life);
        let asleep = life.wish == Wish::Sleep;
        if asleep {
            life.wish = Wish::Run;
            self.changed.notify_all();
        }
        asleep
    }

    /// When its app was used last.
    pub fn usage(&self) -> Option<Arc<Usage>> {
        Some(self.app.upgrade()?.route().usage().clone())
    }

    /// Lets the app's web dynos sleep if nobody has asked them for long.
    pub fn doze(&self) {
        if let Some(app) = self.app.upgrade() {
            app.doze();
        }
    }

    /// Wakes the thread for another look.
    pub fn wake(&self) {
        let _life = lock(&self.life);
        self.changed.notify_all();
    }

    /// A wish has come true.
    fn fulfil(&self, wish: Wish) {
        let mut life = lock(&self.life);
        if life.wish == wish {
            life.wish = Wish::Run;
        }
    }

    /// Waits until it is woken, for so long at most; gives the wish.
    pub fn pause(&self, longest: Duration) -> Wish {
        let life = lock(&self.life);
        let waited = self.changed.wait_timeout(life, longest);
        waited.map_or(Wish::Leave, |(life, _)| life.wish)
    }

    /// Waits until something else is wished.
    fn pause_while(&self, wish: Wish) {
        let mut life = lock(&self.life);
        while life.wish == wish {
            let Ok(woken) = self.changed.wait(life) else {
                return;
            };
            life = woken;
        }
    }

    /// Waits until something else than running is wished.
    fn rest(&self, longest: Duration) -> Wish {
        let end = Instant::now() + longest;
        loop {
            let wish = self.wish();
            let left = end.saturating_duration_since(Instant::now());
            if wish != Wish::Run || left.is_zero() {
                return wish;
            }
            self.pause(left);
        }
    }

    fn wait_while_down(&self) -> Wish {
        loop {
            match self.wish() {
                wish @ (Wish::Down | Wish::Sleep) => {
                    let asleep = wish == Wish::Sleep;
                    self.set_state(if asleep { State::Idle } else { State::Down }, None);
                    self.pause_while(wish);
                }
                Wish::Restart => {
                    self.fulfil(Wish::Restart);
                    return Wish::Run;
                }
                wish => return wish,
            }
        }
    }
}
