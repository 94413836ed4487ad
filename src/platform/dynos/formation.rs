//! The dynos of one app: who should be there, who leaves, and who gets the requests.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::one_off::{MOST_ONE_OFFS, OneOff, Request, TooManyOneOffs};
use super::route::{Condition, Route, Upstreams};
use super::slot::{DynoRow, Slot, State, Wish};
use super::{Formation, Inner, Share, Target, lock};

/// The dynos of one app.
#[derive(Debug)]
pub struct AppDynos {
    app_id: String,
    inner: Arc<Inner>,
    route: Arc<Route>,
    state: Mutex<Members>,
    changed: Condvar,
    /// Held while what should run is found out and told.
    turns: Mutex<()>,
}

#[derive(Debug, Default)]
struct Members {
    /// All whose threads have not ended.
    slots: Vec<Arc<Slot>>,
    /// The same of one-off dynos, which belong to no deploy.
    one_offs: Vec<Arc<OneOff>>,
    /// The deploy that is wanted.
    generation: u64,
    /// What further dynos run; nothing is kept at hand for an app that has none.
    target: Option<Arc<Target>>,
    /// Whether there was a deploy.
    is_deployed: bool,
    is_closed: bool,
}

/// How the web dynos of a deploy came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// All listen; or there are none.
    Up,
    /// One has ended before all listened.
    Crashed { dyno: String },
    /// It takes long, or another deploy came in between.
    Unknown,
}

impl AppDynos {
    pub(super) fn new(app_id: &str, inner: &Arc<Inner>, route: Arc<Route>) -> Self {
        Self {
            app_id: app_id.to_owned(),
            inner: inner.clone(),
            route,
            state: Mutex::default(),
            changed: Condvar::new(),
            turns: Mutex::default(),
        }
    }

    /// The way to its web dynos.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Waits for the turn to change what should run.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        lock(&self.turns)
    }

    /// Starts the dynos of a release. Web dynos of the release before go on serving until all new
    /// ones listen; others are stopped at once. Returns the number of the deploy.
    pub fn deploy(self: &Arc<Self>, target: &Arc<Target>, formation: &Formation) -> u64 {
        self.route.usage().touch();
        let mut members = lock(&self.state);
        members.generation += 1;
        members.target = Some(target.clone());
        members.is_deployed = true;
        let generation = members.generation;
        let keep_web = target.types.contains_key("web")
            && formation.get("web").is_some_and(|share| share.quantity > 0);
        for slot in &members.slots {
            if !(slot.is_web() && keep_web && slot.state() == State::Up) {
                slot.ask(Wish::Leave);
            }
        }
        for (kind, share) in formation {
            for number in 1..=share.quantity {
                self.add(&mut members, target, kind, number, share);
            }
        }
        drop(members);
        self.look();
        generation
    }

    /// Stops all dynos of an app that was deployed and is to have none; nothing is kept for them.
    /// Returns the number of this deploy.
    pub fn rest(&self) -> u64 {
        let mut members = lock(&self.state);
        members.generation += 1;
        members.target = None;
        members.is_deployed = true;
        let generation = members.generation;
        for slot in &members.slots {
            slot.ask(Wish::Leave);
        }
        drop(members);
        self.look();
        generation
    }

    /// Dynos are about to be started: until then a request waits for them.
    pub fn expect_start(&self) {
        lock(&self.state).is_deployed = true;
        self.route.publish(Upstreams {
            backends: Vec::new(),
            condition: Condition::Starting,
        });
    }

    /// Whether it has what further dynos would run.
    pub fn has_target(&self) -> bool {
        lock(&self.state).target.is_some()
    }

    /// Changes how many dynos there are of each named type.
    pub fn scale(self: &Arc<Self>, formation: &Formation) {
        let mut members = lock(&self.state);
        let Some(target) = members.target.clone() else {
            return;
        };
        let generation = members.generation;
        for (kind, share) in formation {
            let count = &share.quantity;
            let own = members
                .slots
                .iter()
                .filter(|slot| slot.kind == *kind && slot.wish() != Wish::Leave);
            for slot in own.clone() {
                if slot.number > *count {
                    slot.ask(Wish::Leave);
                }
            }
            let there = own
                .filter(|slot| slot.generation == generation)
                .map(|slot| slot.number)
                .collect::<Vec<_>>();
            for number in (1..=*count).filter(|number| !there.contains(number)) {
                self.add(&mut members, &target, kind, number, share);
            }
        }
        drop(members);
        self.look();
    }

    fn add(
        self: &Arc<Self>,
        members: &mut Members,
        target: &Arc<Target>,
        kind: &str,
        number: u32,
        share: &Share,
    ) {
        // A type that this release does not have waits for one that has it.
        if members.is_closed
            || self.inner.stopping.load(Ordering::SeqCst)
            || !target.types.contains_key(kind)
        {
            return;
        }
        let generation = members.generation;
        let (inner, size) = (&self.inner, &share.size);
        let slot = Slot::new(inner, self, target, generation, kind, number, size);
        let slot = Arc::new(slot);
        let (own, app) = (slot.clone(), self.clone());
        let started = thread::Builder::new()
            .name(slot.name.clone())
            .spawn(move || {
                own.live();
                app.forget(&own);
            });
        match started {
            Ok(_) => members.slots.push(slot),
            Err(error) => {
                tracing::error!(app = target.app_name, dyno = slot.name, %error, "no thread for a dyno");
                slot.say(&format!("The dyno could not be started: {error}"));
            }
        }
    }

    fn forget(&self, slot: &Arc<Slot>) {
        lock(&self.state)
            .slots
            .retain(|one| !Arc::ptr_eq(one, slot));
        self.look();
    }

    /// Asks dynos to end and start again: one by its name, or all of a type. Says how many.
    pub fn restart(&self, which: &str) -> usize {
        self.ask(which, Wish::Restart)
    }

    /// Asks dynos to end and stay down: one by its name, or all of a type. Says how many.
    pub fn stop(&self, which: &str) -> usize {
        self.ask(which, Wish::Down)
    }

    fn ask(&self, which: &str, wish: Wish) -> usize {
        let members = lock(&self.state);
        let one_offs = members.one_offs.iter();
        let one_offs = one_offs.filter(|one| one.name == which || one.kind() == which);
        // One that has ended is not begun again.
        let ended = one_offs.inspect(|one| one.stop()).count();
        let named = |slot: &&Arc<Slot>| {
            slot.generation == members.generation
                && slot.wish() != Wish::Leave
                && (slot.name == which || slot.kind == which)
        };
        let named = members.slots.iter().filter(named);
        named.inspect(|slot| slot.ask(wish)).count() + ended
    }

    /// Runs one command in a dyno of its own.
    ///
    /// # Errors
    /// The caller's: there are too many already.
    pub fn run(
        self: &Arc<Self>,
        target: Arc<Target>,
        request: Request,
    ) -> Result<Arc<OneOff>, TooManyOneOffs> {
        let mut members = lock(&self.state);
        if members.is_closed {
            return Err(TooManyOneOffs);
        }
        let taken = |number: &u32| members.one_offs.iter().any(|one| one.number == *number);
        let most = u32::try_from(MOST_ONE_OFFS).unwrap_or(u32::MAX);
        let free = (1..=most).find(|number| !taken(number));
        let number = free.ok_or(TooManyOneOffs)?;
        let one = Arc::new(OneOff::new(&self.inner, target, number, request));
        members.one_offs.push(one.clone());
        drop(members);
        if let Some(secret) = one.secret() {
            let own = Arc::downgrade(&one);
            lock(&self.inner.awaiting).insert(secret.to_owned(), own);
        }
        let (own, app) = (one.clone(), self.clone());
        let forget = move |own: &Arc<OneOff>| {
            let mut members = lock(&app.state);
            members.one_offs.retain(|one| !Arc::ptr_eq(one, own));
            drop(members);
            app.changed.notify_all();
        };
        let started = thread::Builder::new().name(one.name.clone());
        let forget_unstarted = forget.clone();
        let started = started.spawn(move || {
            own.live();
            forget(&own);
            own.tell_end();
        });
        if let Err(error) = started {
            tracing::error!(dyno = one.name, %error, "no thread for a dyno");
            forget_unstarted(&one);
            one.tell_end();
        }
        Ok(one)
    }

    /// Lets web dynos sleep if no request has come for long.
    pub(super) fn doze(&self) {
        let Some(limit) = self.inner.options.idle_time else {
            return;
        };
        let members = lock(&self.state);
        if self.route.usage().quiet() < limit {
            return;
        }
        let own = members.slots.iter();
        let own = own.filter(|slot| slot.is_web() && slot.generation == members.generation);
        for slot in own.filter(|slot| slot.wish() == Wish::Run) {
            slot.say("Idling");
            slot.ask(Wish::Sleep);
        }
    }

    /// Starts the web dynos that sleep, since somebody wants one.
    pub(super) fn wake(&self) {
        let members = lock(&self.state);
        let own = members.slots.iter();
        let own = own.filter(|slot| slot.is_web() && slot.generation == members.generation);
        for slot in own {
            if slot.wake_up() {
                self.route.usage().touch();
                slot.say("Unidling");
            }
        }
    }

    /// Those of the deploy that is wanted, in the order of their names.
    pub fn rows(&self) -> Vec<DynoRow> {
        let members = lock(&self.state);
        let own = members.slots.iter();
        let own =
            own.filter(|slot| slot.generation == members.generation && slot.wish() != Wish::Leave);
        let mut own = own.collect::<Vec<_>>();
        own.sort_by(|a, b| (&a.kind, a.number).cmp(&(&b.kind, b.number)));
        let own = own.into_iter().map(|slot| slot.row());
        let mut rows = own.collect::<Vec<_>>();
        let mut one_offs = members.one_offs.iter().collect::<Vec<_>>();
        one_offs.sort_by_key(|one| one.number);
        rows.extend(one_offs.into_iter().map(|one| one.row()));
        rows
    }

    pub(super) fn targets(&self) -> Vec<Arc<Target>> {
        let members = lock(&self.state);
        let of_slots = members.slots.iter().map(|slot| slot.target.clone());
        of_slots.chain(members.target.clone()).collect()
    }

    /// Decides who gets the requests, and ends web dynos whose successors are there.
    pub fn look(&self) {
        let members = lock(&self.state);
        let web = members.slots.iter().filter(|slot| slot.is_web());
        let (new, old): (Vec<_>, Vec<_>) =
            web.partition(|slot| slot.generation == members.generation);
        let new = new.into_iter().filter(|slot| slot.wish() != Wish::Leave);
        let new = new.collect::<Vec<_>>();
        let up = |slots: &[&Arc<Slot>]| {
            let backends = slots.iter().filter_map(|slot| slot.backend());
            backends.collect::<Vec<_>>()
        };
        let sleeps = |slot: &&&Arc<Slot>| slot.wish() == Wish::Sleep;
        let wanted = new
            .iter()
            .filter(|slot| !matches!(slot.wish(), Wish::Down | Wish::Sleep));
        let all_up = new.iter().any(|slot| slot.state() == State::Up)
            && wanted.clone().all(|slot| slot.state() == State::Up);
        let (new_backends, old_backends) = (up(&new), up(&old));
        let backends = if all_up || old_backends.is_empty() {
            new_backends
        } else {
            old_backends
        };
        let condition = if !backends.is_empty() {
            Condition::Up
        } else if !members.is_deployed {
            Condition::Blank
        } else if new.is_empty() {
            Condition::NoWeb
        } else if new.iter().any(|slot| sleeps(&slot)) {
            Condition::Starting
        } else if new.iter().all(|slot| slot.state() == State::Crashed) {
            Condition::Crashed
        } else if wanted.count() == 0 {
            Condition::NoWeb
        } else {
            Condition::Starting
        };
        self.route.publish(Upstreams {
            backends,
            condition,
        });
        if all_up {
            for slot in old {
                slot.ask(Wish::Leave);
            }
        }
        drop(members);
        self.changed.notify_all();
    }

    /// Waits until the web dynos of a deploy listen, or until one of them has crashed.
    pub fn wait_for_boot(&self, generation: u64, longest: Duration) -> Boot {
        let end = Instant::now() + longest;
        let mut members = lock(&self.state);
        loop {
            if members.generation != generation || members.is_closed {
                return Boot::Unknown;
            }
            let web = members.slots.iter().filter(|slot| {
                slot.is_web() && slot.generation == generation && slot.wish() == Wish::Run
            });
            let mut all_up = true;
            for slot in web {
                match slot.state() {
                    State::Up => {}
                    State::Crashed => {
                        return Boot::Crashed {
                            dyno: slot.name.clone(),
                        };
                    }
                    State::Starting | State::Down | State::Idle => all_up = false,
                }
            }
            if all_up {
                return Boot::Up;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Boot::Unknown;
            }
            members = self.wait(members, left);
        }
    }

    fn wait<'a>(
        &self,
        members: MutexGuard<'a, Members>,
        longest: Duration,
    ) -> MutexGuard<'a, Members> {
        let waited = self.changed.wait_timeout(members, longest);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Tells all to leave; none comes after them.
    pub(super) fn close(&self) {
        let mut members = lock(&self.state);
        members.is_closed = true;
        for slot in &members.slots {
            slot.ask(Wish::Leave);
        }
        for one in &members.one_offs {
            one.stop();
        }
        drop(members);
        self.changed.notify_all();
    }

    /// Waits until the last has left.
    pub(super) fn wait_until_empty(&self, longest: Duration) {
        let end = Instant::now() + longest;
        let mut members = lock(&self.state);
        while !(members.slots.is_empty() && members.one_offs.is_empty()) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(app = self.app_id, "dynos are killed that did not end");
                return;
            }
            members = self.wait(members, left);
        }
    }
}
