//! Turns: who may go on, in the order in which they came, and who sees their place.
//!
//! One queue limits the builds of the machine, and one for each app lets its pushes go one by one.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sandbox::Cancel;

/// How often a waiter looks whether its caller has gone.
const TICK: Duration = Duration::from_millis(200);

/// A queue in front of `capacity` places. Clones share it.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    capacity: usize,
    line: Mutex<Line>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Line {
    inside: usize,
    waiting: VecDeque<u64>,
    next: u64,
}

/// Why a waiter left without its turn.
#[derive(Debug, thiserror::Error)]
pub enum Left {
    #[error("the build was cancelled while it waited")]
    Cancelled,
    #[error("nobody reads the output any more")]
    Output(#[source] io::Error),
}

/// A place inside; dropping it lets the next one in.
#[derive(Debug)]
pub struct Turn(Queue);

impl Queue {
    /// A queue whose `capacity`, at least one, may be inside at once.
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            capacity: capacity.max(1),
            line: Mutex::default(),
            moved: Condvar::new(),
        }))
    }

    /// Waits for a turn; `tell` is called with the number of those ahead whenever it changes.
    ///
    /// # Errors
    /// Cancelled, or `tell` failed.
    pub fn enter(
        &self,
        cancel: &Cancel,
        mut tell: impl FnMut(usize) -> io::Result<()>,
    ) -> Result<Turn, Left> {
        let mut line = self.line();
        let ticket = line.next;
        line.next += 1;
        line.waiting.push_back(ticket);
        let mut told = None;
        let outcome = loop {
            let place = line
                .waiting
                .iter()
                .position(|other| *other == ticket)
                .unwrap_or(0);
            if place == 0 && line.inside < self.0.capacity {
                break Ok(());
            }
            if cancel.is_cancelled() {
                break Err(Left::Cancelled);
            }
            // Ahead: those who wait before us, and whoever is inside while there is no free place.
            let ahead = place + 1;
            if told != Some(ahead) {
                told = Some(ahead);
                drop(line);
                let heard = tell(ahead);
                line = self.line();
                if let Err(error) = heard {
                    break Err(Left::Output(error));
                }
                continue;
            }
            line = self
                .0
                .moved
                .wait_timeout(line, TICK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        };
        line.waiting.retain(|other| *other != ticket);
        if outcome.is_ok() {
            line.inside += 1;
        }
        drop(line);
        self.0.moved.notify_all();
        outcome.map(|()| Turn(self.clone()))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.line().inside -= 1;
        self.0.0.moved.notify_all();
    }
}

/// A queue of one place for each app.
#[derive(Debug, Clone, Default)]
pub struct AppLocks(Arc<Mutex<HashMap<String, Queue>>>);

impl AppLocks {
    /// The queue of an app.
    pub fn of(&self, app_id: &str) -> Queue {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues
            .entry(app_id.to_owned())
            .or_insert_with(|| Queue::new(1))
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn turns_come_in_order_and_tell_the_place() {
        let queue = Queue::new(1);
        let first = queue
            .enter(&Cancel::default(), |_| unreachable!("the queue is empty"))
            .unwrap();
        let (sender, events) = channel();
        let waiters = ["a", "b"].map(|name| {
            let (queue, sender, waits) = (queue.clone(), sender.clone(), channel::<()>());
            let handle = thread::spawn(move || {
                let turn = queue.enter(&Cancel::default(), |ahead| {
                    sender.send(format!("{name} waits for {ahead}")).unwrap();
                    Ok(())
                });
                sender.send(format!("{name} goes")).unwrap();
                drop(waits);
                drop(turn);
            });
            (events.recv().unwrap(), handle)
        });
        drop(first);
        let mut seen = waiters
            .iter()
            .map(|(event, _)| event.clone())
            .collect::<Vec<_>>();
        for (_, handle) in waiters {
            handle.join().unwrap();
        }
        drop(sender);
        seen.extend(events);
        assert_eq!(seen[..2], ["a waits for 1", "b waits for 2"]);
        let place = |event: &str| seen.iter().position(|other| other == event).unwrap();
        assert!(place("a goes") < place("b goes"));
    }

    #[test]
    fn a_cancelled_waiter_leaves_its_place() {
        let queue = Queue::new(1);
        let first = queue.enter(&Cancel::default(), |_| Ok(())).unwrap();
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(matches!(
            queue.enter(&cancel, |_| Ok(())),
            Err(Left::Cancelled)
        ));
        let gone = queue.enter(
            &Cancel::default(),
            |_| Err(io::ErrorKind::BrokenPipe.into()),
        );
        assert!(matches!(gone, Err(Left::Output(_))));
        drop(first);
        queue
            .enter(&Cancel::default(), |_| unreachable!("nobody is inside"))
            .unwrap();
    }
}
